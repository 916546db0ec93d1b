"""``ssldet COMMAND ...``: every command of the project under one name, and completion for shells.

The scripts (``python pretrain/run.py`` and the others) stay what they are; this only finds them. A command is imported
when it is asked for, so ``ssldet --help`` and ``ssldet report`` need no torch.
"""

import sys
from dataclasses import fields
from importlib import import_module

from benchmark.core.errors import UserError, check_choice, run_command
from benchmark.core.options import flag_of, own_options

# name -> (module with ``main``, module and class of its options, what it does)
COMMANDS = {
    "pretrain": (
        "pretrain.run",
        "pretrain.training.config:PretrainConfig",
        "pre-train a ResNet and leave a checkpoint",
    ),
    "convert": ("transfer.convert", "transfer.convert:ConvertConfig", "any ResNet-50 checkpoint to Detectron2 weights"),
    "coco": ("transfer.coco", "transfer.detection.config:DetectionConfig", "fine-tune Mask R-CNN on COCO"),
    "voc": ("transfer.voc", "transfer.detection.config:DetectionConfig", "fine-tune Faster R-CNN on Pascal VOC"),
    "classify": (
        "transfer.classify",
        "transfer.probing.config:ClassifyConfig",
        "linear probe and k-NN on frozen features",
    ),
    "run": ("benchmark.run", "benchmark.runner.config:SuiteConfig", "all runs of a suite, here or on Slurm"),
    "report": ("benchmark.report", "benchmark.pages.config:ReportConfig", "the page and the tables from records"),
    "check": ("benchmark.check", "benchmark.audit.config:CheckConfig", "audit logs, configs and records of anyone"),
    "zoo": ("benchmark.zoo", "benchmark.zoo:ZooConfig", "published checkpoints by name"),
}
SHELLS = ("bash", "zsh", "fish")
FLAGS_OF_ALL = ("--help", "--config")


def main(argv: list[str] | None = None) -> int:
    """Call the command that the first word names with the words after it; return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, rest = words[0], words[1:]
    if name == "completion":
        print(completion(rest))
        return 0
    check_choice("ssldet", name, COMMANDS)
    return import_module(COMMANDS[name][0]).main(rest)


def usage() -> str:
    """Return what ``ssldet --help`` prints."""
    lines = ["usage: ssldet COMMAND [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<10} {what}" for name, (_, _, what) in COMMANDS.items()]
    lines += ["", "  ssldet COMMAND --help tells its options.", "  ssldet completion bash|zsh|fish prints a script for"]
    return "\n".join([*lines, "  your shell: source <(ssldet completion bash)"])


def flags_of(name: str) -> list[str]:
    """Return the flags of a command, from the class of its options."""
    module, _, kind = COMMANDS[name][1].partition(":")
    config = getattr(import_module(module), kind)
    options = list(own_options(config))
    for field in fields(config):
        if field.metadata.get("part"):
            options += list(own_options(type(field.default_factory())))
    return sorted({*FLAGS_OF_ALL, *(flag_of(option) for option in options)})


def completion(words: list[str]) -> str:
    """Return the completion script of a shell. Raises ``UserError`` for a shell that is not known."""
    if len(words) != 1:
        raise UserError(f"ssldet completion takes the name of your shell: {', '.join(SHELLS)}.")
    check_choice("ssldet completion", words[0], SHELLS)
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[words[0]]()


def _bash() -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(flags_of(name))}" ;;' for name in COMMANDS)
    return f"""_ssldet() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join([*COMMANDS, "completion"])}" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
    completion) words="{" ".join(SHELLS)}" ;;
  esac
  if [[ "$current" == -* || "${{COMP_WORDS[1]}}" == completion ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _ssldet ssldet"""


def _zsh() -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash()}"


def _fish() -> str:
    lines = [f"complete -c ssldet -n __fish_use_subcommand -a {name} -d '{COMMANDS[name][2]}'" for name in COMMANDS]
    lines += ["complete -c ssldet -n __fish_use_subcommand -a completion -d 'a script for your shell'"]
    for name in COMMANDS:
        flags = (flag.removeprefix("--") for flag in flags_of(name))
        lines += [f"complete -c ssldet -n '__fish_seen_subcommand_from {name}' -l {flag}" for flag in flags]
    return "\n".join(lines)


def entry() -> int:
    """Run as the console command; its exit code is that of the command."""
    return run_command(main)


if __name__ == "__main__":
    raise SystemExit(entry())
