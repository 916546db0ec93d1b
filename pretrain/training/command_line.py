"""From the command line to the config: the method decides which options there are, its recipe what they are."""

import sys
from typing import Any

from benchmark.core.options import load_yaml, parse, value_of
from pretrain.images.options import ViewOptions
from pretrain.methods.registry import method_class, method_names, options_of_others
from pretrain.training.config import MethodOptions, PretrainConfig
from pretrain.training.recipe import check_presets, recipe, with_preset

PROG = "python pretrain/run.py"
DESCRIPTION = (
    "Pre-train an encoder. The defaults are the released ImageNet recipe of the method "
    "(pretrain/recipes/METHOD_imagenet.yaml); without --data the embedded photographs are used with the sizes of "
    "METHOD_embedded.yaml."
)


def resolve(argv: list[str] | None) -> PretrainConfig:
    """Return the config: flags over --config files over the method's recipe.

    ``--help`` without a method names the methods and answers at once, without torch.

    Raises:
        UserError: an option that does not exist or belongs to another method, or a value that it cannot have.
        SystemExit: 0 after ``--help``.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if asks_for_help_alone(argv):
        names = ", ".join(method_names())
        more = f"--help --method M also shows the options of a method. The methods are: {names}."
        parts = {"augmentation": ViewOptions, "options": MethodOptions}
        return parse(PretrainConfig, argv, PROG, DESCRIPTION, parts=parts, epilog=more)
    method = value_of(PretrainConfig, argv, "method")
    kind = method_class(method).Options
    embedded = value_of(PretrainConfig, argv, "data") is None
    epochs = length(argv, method, embedded)

    def prepare(content: dict[Any, Any], path: str) -> dict[Any, Any]:
        check_presets(content, path)
        return with_preset(content, epochs)

    return parse(
        PretrainConfig,
        argv,
        PROG,
        DESCRIPTION,
        defaults=recipe(method, embedded, epochs),
        parts={"augmentation": ViewOptions, "options": kind},
        elsewhere=options_of_others(method),
        prepare=prepare,
    )


def asks_for_help_alone(argv: list[str]) -> bool:
    """Say whether help is wanted and no method, by flag or by file, whose options it could show."""
    words = [word.partition("=")[0] for word in argv]
    return ("--help" in words or "-h" in words) and not {"--method", "--config"} & set(words)


def length(argv: list[str], method: str, embedded: bool) -> int:
    """Return the epochs of the run: what flag or file says, or else the recipe; a mistake in it is found later."""
    said: Any = recipe(method, embedded)["epochs"]
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        value = value if equals else following
        if flag == "--config":
            content = load_yaml(value)
            said = content.get("epochs", said) if isinstance(content, dict) else said
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if flag == "--epochs":
            said = value if equals else following
    try:
        return max(1, int(said))
    except (TypeError, ValueError):
        return 1
