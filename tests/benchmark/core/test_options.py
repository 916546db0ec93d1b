"""Command lines from frozen configs: what users type, in any order, and what they mistype."""

from dataclasses import FrozenInstanceError, dataclass

import pytest

from benchmark.core.errors import UserError
from benchmark.core.options import check_choices, option, parse, to_yaml


@dataclass(frozen=True)
class Config:
    epochs: int = option(400, "length, in epochs", group="Schedule")
    lr: float = option(0.5, "learning rate", group="Schedule")
    width: int | None = option(None, "in px", group="Model")
    keep: tuple[int, ...] = option((), "epochs to keep", group="Run")
    arch: str = option("resnet50", "encoder", group="Model", choices=("resnet18", "resnet50"))
    dry_run: bool = option(False, "plan only", group="Run")
    resume: bool = option(True, "continue", group="Run")
    overrides: tuple[str, ...] = option((), "KEY VALUE", group="Overrides", positional=True)

    def __post_init__(self):
        check_choices(self)


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
        (["--epochs", "many"], "--epochs takes int, not 'many'"),
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
        ("lr: fast\n", "--lr takes float"),
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
