"""Command lines from frozen configs: what users type, in any order, and what they mistype."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from benchmark.core.errors import UserError
from benchmark.core.options import check_values, option, parse, part, to_dict, to_yaml, value_of
from benchmark.core.strict_yaml import parse_yaml
from benchmark.core.value_types import Count, PathText, PositiveFloat, Seed, UnitInterval


@dataclass(frozen=True)
class Config:
    epochs: int = option(400, "length, in epochs", group="Schedule")
    lr: float = option(0.5, "learning rate", group="Schedule")
    width: int | None = option(None, "in px", group="Model")
    keep: tuple[int, ...] = option((), "epochs to keep", group="Run")
    arch: Literal["resnet18", "resnet50"] = option("resnet50", "encoder", group="Model")
    dry_run: bool = option(False, "plan only", group="Run")
    resume: bool = option(True, "continue", group="Run")
    overrides: tuple[str, ...] = option((), "KEY VALUE", group="Overrides", positional=True)

    def __post_init__(self):
        check_values(self)


def read(*words: str) -> Config:
    return parse(Config, list(words), "prog", "test")


def test_defaults_and_frozen():
    config = read()
    assert config == Config()
    with pytest.raises(FrozenInstanceError):
        config.epochs = 3


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--epochs", "800"], "epochs", 800),
        (["--lr=1e-3"], "lr", 1e-3),
        (["--width", "64"], "width", 64),
        (["--keep", "100,200"], "keep", (100, 200)),
        (["--keep", "100"], "keep", (100,)),
        (["--arch", "resnet18"], "arch", "resnet18"),
        (["--dry-run"], "dry_run", True),
        (["--no-resume"], "resume", False),
    ],
)
def test_each_flag_changes_its_field_alone(words, field, value):
    config = read(*words)
    assert getattr(config, field) == value
    changed = {name for name in Config.__dataclass_fields__ if getattr(config, name) != getattr(Config(), name)}
    assert changed == {field}


def test_overrides_stand_anywhere_and_may_be_negative():
    config = read("A.B", "1", "--dry-run", "C", "-1", "--epochs", "3", "D", "(60, 80)")
    assert config.overrides == ("A.B", "1", "C", "-1", "D", "(60, 80)")
    assert config.dry_run
    assert config.epochs == 3


def test_file_and_flags_combine_and_flags_win(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("epochs: 3\nlr: 1e-5\nkeep: [1, 2]\ndry_run: true\n")
    config = read("--config", str(path), "--epochs", "7")
    assert (config.epochs, config.lr, config.keep, config.dry_run) == (7, 1e-5, (1, 2), True)


def test_written_config_reads_back_equal(tmp_path):
    config = read("--epochs", "7", "--keep", "1,2", "--lr", "1e-5", "A", "1")
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert read("--config", str(path)) == config


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epoch", "3"], "did you mean '--epochs'"),
        (["--epochs", "many"], "--epochs is 'many'; it must be a whole number"),
        (["--epochs"], "--epochs needs a value"),
        (["--epochs", "--dry-run"], "--epochs needs a value"),
        (["--arch", "resnet5"], "did you mean 'resnet50'"),
        (["--config", "absent.yaml"], "no file absent.yaml"),
        (["--keep", "1,b"], "--keep"),
        (["--width", "b"], "--width"),
    ],
)
def test_mistakes_are_told_in_one_line(words, said):
    with pytest.raises(UserError) as error:
        read(*words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs: 3\nepochs: 4\n", "duplicate key 'epochs'"),
        ("epoch: 3\n", "did you mean 'epochs'"),
        ("epochs: [3\n", "cannot be read as YAML"),
        ("just words", "holds no options"),
        ("lr: fast\n", "lr in .*options.yaml is .fast."),
    ],
)
def test_bad_config_files(tmp_path, text, said):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read("--config", str(path))


def test_help_groups_units_and_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        read("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Schedule:" in text
    assert "length, in epochs" in text
    assert "default: 400" in " ".join(text.split())


@dataclass(frozen=True)
class QueueOptions:
    queue: Count = option(65536, "negatives that are kept", group="Method")
    temperature: PositiveFloat = option(0.2, "of the softmax", group="Method")


@dataclass(frozen=True)
class CodesOptions:
    prototypes: Count = option(3000, "prototypes", group="Method")


@dataclass(frozen=True)
class Ranged:
    method: Literal["queue", "codes"] = option("queue", "method", group="Method")
    options: QueueOptions | CodesOptions = part(QueueOptions)
    epochs: Count = option(400, "length, in epochs", group="Schedule")
    momentum: UnitInterval = option(0.9, "of the average", group="Schedule")
    lr: PositiveFloat | None = option(None, "learning rate", group="Schedule")
    share: Literal[0.01, 0.1] | None = option(None, "of the images", group="Data")
    side: Annotated[int, Field(ge=8, le=512)] = option(224, "in px", group="Data")
    data: PathText | None = option(None, "folder", group="Data")
    seed: Seed = option(0, "of all", group="Run")
    keep: tuple[Count, ...] = option((), "epochs to keep", group="Run")


PARTS = {"queue": QueueOptions, "codes": CodesOptions}
ELSEWHERE = {"prototypes": "belongs to --method codes"}


def read_ranged(*words: str) -> Ranged:
    method = value_of(Ranged, list(words), "method")
    return parse(Ranged, list(words), "prog", "", parts={"options": PARTS[method]}, elsewhere=ELSEWHERE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "0"], "--epochs is 0; it must be a whole number above 0."),
        (
            ["--epochs", "1000000000000"],
            "--epochs is 1000000000000; it must be a whole number above 0, at most 2,147,483,647.",
        ),
        (["--epochs", "true"], "--epochs is True; it must be a whole number above 0."),
        (["--epochs", "9" * 5000], "--epochs is '9999"),
        (["--momentum", "1.5"], "--momentum is 1.5; it must be a number between 0 and 1."),
        (["--lr", ".nan"], "--lr is nan; it must be a number above 0."),
        (["--lr", "1e39"], "--lr is 1e+39; it must be a number above 0, at most 3.4e+38."),
        (["--lr", "[1]"], "--lr is (1,); it must be a number above 0."),
        (["--share", "0.2"], "--share is 0.2; it must be one of 0.01, 0.1."),
        (["--side", "4"], "--side is 4; it must be a whole number between 8 and 512."),
        (["--data", ""], "--data cannot be '': it is empty."),
        (["--data=" + "x" * 300], "longer than a name of a file can be"),
        (["--data=\udcff"], r"--data cannot be '\udcff': it is not UTF-8"),
        (["--seed", str(2**64)], "it must be a whole number at least 0 and below 4294967296."),
        (["--keep", "1,0"], "--keep lists 0; it must be a list such as A,B, each a whole number above 0."),
        (["--keep", "[[1]]"], "--keep"),
        (["--method", "cods"], "--method has no value 'cods'; did you mean 'codes'?"),
        (["--queue", "0"], "--queue is 0; it must be a whole number above 0."),
        (["--prototypes", "3"], "--prototypes belongs to --method codes."),
        (["--method", "codes", "--queue", "3"], "there is no option --queue"),
        (["--help=3"], "--help"),
    ],
    ids=lambda value: value[0][:20] if isinstance(value, list) else "",
)
def test_types_say_what_is_possible(words, said):
    with pytest.raises(UserError) as error:
        read_ranged(*words)
    assert said.rstrip(".") in str(error.value)
    assert "\n" not in str(error.value)


def test_the_options_of_a_part_stand_beside_the_others(tmp_path):
    config = read_ranged("--method", "codes", "--prototypes", "10", "--epochs", "3")
    assert config == Ranged(method="codes", options=CodesOptions(prototypes=10), epochs=3)
    assert to_dict(config)["prototypes"] == 10
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_ranged("--config", str(tmp_path / "config.yaml")) == config
    flags_win = read_ranged("--config", str(tmp_path / "config.yaml"), "--prototypes=7")
    assert flags_win.options == CodesOptions(prototypes=7)
    with pytest.raises(UserError, match=r"config\.yaml: prototypes belongs to --method codes"):
        read_ranged("--config", str(tmp_path / "config.yaml"), "--method=queue")


def test_a_config_made_in_python_is_checked_by_the_same_types():
    with pytest.raises(ValueError, match=r"^epochs is 0; it must be a whole number above 0"):
        check_values(Ranged(epochs=0))
    with pytest.raises(ValueError, match=r"^epochs is True"):
        check_values(Ranged(epochs=True))
    check_values(Ranged(lr=1, keep=(1, 2)))


def test_help_says_which_values_are_possible(capsys):
    with pytest.raises(SystemExit):
        parse(Ranged, ["--help"], "prog", "", parts={"options": CodesOptions})
    text = " ".join(capsys.readouterr().out.split())
    assert "length, in epochs (a whole number above 0; default: 400)" in text
    assert "of the images (one of 0.01, 0.1)" in text
    assert "prototypes (a whole number above 0; default: 3000)" in text
    assert "--queue" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("? [1, 2]\n: 3\n", "a list or a mapping stands where a key belongs"),
        ("epochs: *a\n", "the alias"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\n", "alias"),
        ("epochs: " + "[" * 3000, "levels of nesting"),
        ("epochs: 2024-13-45\n", "epochs in .* is '2024-13-45'; it must be a whole number"),
        ("epochs: !!int many\n", "cannot be read as YAML"),
        ("epochs: !!python/object/apply:os.system [ls]\n", "cannot be read as YAML"),
        ("epochs: " + "9" * 5000, "cannot be read as YAML"),
        ("epochs: \x00\n", "cannot be read as YAML"),
        ("data: \"\\0\"\n", "null character"),
        ("epochs: 400\n" + " " * (1 << 20), "1 at most"),
        ("1: 2\n", "unknown option 1"),
        ("prototypes: 3\n", "prototypes belongs to --method codes"),
    ],
)  # fmt: skip
def test_hostile_files_of_options(tmp_path, text, said):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_ranged("--config", str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["x" * 300, "", "a\0b", "/dev/zero", "."])
def test_what_is_no_file_of_options(path):
    with pytest.raises(UserError):
        read_ranged(f"--config={path}")


def test_numbers_are_read_as_people_mean_them():
    found = parse_yaml("a: 010\nb: 1:30\nc: 2001-01-01\nd: 1e-5\ne: 1_000\nf: -.5\ng: 1.\nh: true\ni: null\n")
    assert found == {"a": 10, "b": "1:30", "c": "2001-01-01", "d": 1e-5, "e": 1000, "f": -0.5, "g": 1.0} | {
        "h": True,
        "i": None,
    }
