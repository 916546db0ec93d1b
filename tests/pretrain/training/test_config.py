"""The command line of pre-training: defaults, recipes, every flag, and what is refused with which words."""

import dataclasses

import pytest
import yaml

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.core.options import flag_of, load_yaml, to_dict, to_yaml
from pretrain.methods.registry import make_method
from pretrain.run import resolve
from pretrain.training.config import NOT_IDENTITY, PretrainConfig

RECIPES = ROOT / "pretrain" / "recipes"
IMAGENET = RECIPES / "kernel_ssl_imagenet.yaml"
WITH_DATA = ["--data", "photos"]

# One other valid value of every option, with what has to be given beside it.
OTHER = {
    "epochs": "800",
    "warmup_epochs": "3",
    "lr": "0.1",
    "ema": "0.99",
    "data": "elsewhere",
    "images": "100",
    "image_size": "96",
    "batch_size": "512",
    "micro_batch": "64",
    "views": "reference",
    "workers": "3",
    "arch": "resnet18",
    "projector_width": "128",
    "projector_hidden": "64",
    "predictor_hidden": "32",
    "mu": "0.5",
    "lam": "0.5",
    "gamma": "0.1",
    "taylor_order": "6",
    "logarithm": "exact",
    "uniformity": "none",
    "alignment": "hsic",
    "hsic_weight": "0.003",
    "kernel": "laplace",
    "optimizer": "lars",
    "weight_decay": "1e-4",
    "device": "cpu",
    "precision": "fp16",
    "seed": "7",
    "output": "there",
    "records": "others",
    "keep_every": "50",
    "checkpoint_minutes": "30",
    "log_every": "1",
    "images_per_second": "1000",
}
WITH_COMPANY = {
    "bandwidth": ["--kernel=rbf", "--bandwidth=0.7"],
    "degree": ["--kernel=polynomial", "--degree=3"],
    "keep_epochs": ["--keep-epochs=100,400"],
    "trace_term": ["--trace-term"],
    "resume": ["--no-resume"],
    "dry_run": ["--dry-run"],
}
ONLY_ONE_VALUE = {"method"}
LOSS = ["mu", "lam", "gamma", "taylor_order", "logarithm", "uniformity", "alignment", "trace_term", "hsic_weight"]
LOSS += ["kernel", "bandwidth", "degree"]


def arguments_for(name):
    return WITH_COMPANY.get(name) or [f"--{name.replace('_', '-')}={OTHER[name]}"]


@pytest.mark.parametrize("field", dataclasses.fields(PretrainConfig), ids=lambda field: field.name)
def test_every_flag_changes_its_setting_and_the_identity_if_it_changes_the_result(field):
    if field.name in ONLY_ONE_VALUE:
        assert len(field.metadata["choices"]) == 1
        return
    before = resolve(["--data=photos"])
    arguments = arguments_for(field.name)
    after = resolve(["--data=photos", *arguments] if field.name != "data" else arguments)
    changed = {name for name, value in to_dict(after).items() if value != to_dict(before)[name]}
    given = {word.removeprefix("--").removeprefix("no-").partition("=")[0].replace("-", "_") for word in arguments}
    assert changed == given
    assert (after.identity(10) != before.identity(10)) == (field.name not in NOT_IDENTITY)


@pytest.mark.parametrize("name", LOSS)
def test_every_loss_flag_reaches_the_method(name):
    before = make_method(resolve(WITH_DATA)).options
    after = make_method(resolve([*WITH_DATA, *arguments_for(name)])).options
    assert getattr(after, name) != getattr(before, name)
    assert getattr(after, name) == getattr(resolve([*WITH_DATA, *arguments_for(name)]), name)


def test_the_defaults_are_the_papers_recipe():
    config = resolve(WITH_DATA)
    assert (config.epochs, config.batch_size, config.image_size, config.arch) == (400, 1024, 224, "resnet50")
    assert (config.projector_width, config.projector_hidden, config.predictor_hidden) == (2048, 2048, 512)
    assert (config.lr, config.scaled_lr, config.warmup, config.ema) == (0.5, 2.0, 10.0, 0.996)
    assert (config.optimizer, config.weight_decay, config.method) == ("sgd", 1e-5, "kernel_ssl")
    assert (config.mu, config.lam, config.gamma, config.taylor_order, config.logarithm) == (1, 1, 1, 4, "taylor")
    assert (config.uniformity, config.alignment, config.kernel, config.trace_term) == ("mce", "mce", "linear", False)


def test_the_imagenet_recipe_is_complete_and_equals_the_defaults():
    recipe = resolve([*WITH_DATA, f"--config={IMAGENET}"])
    assert dataclasses.replace(recipe, warmup_epochs=None) == resolve(WITH_DATA)
    assert recipe.warmup_epochs == 10
    left_out = {field.name for field in dataclasses.fields(PretrainConfig)} - set(load_yaml(IMAGENET))
    run = {f.name for f in dataclasses.fields(PretrainConfig) if f.metadata["group"] in ("Run", "Data")}
    of_other_losses = {"trace_term", "hsic_weight", "kernel", "bandwidth", "degree"}
    assert left_out <= run | of_other_losses | {"epochs"}


def test_400_and_800_epochs_differ_in_epochs_alone():
    short, long = (to_dict(resolve([*WITH_DATA, f"--config={IMAGENET}", f"--epochs={n}"])) for n in (400, 800))
    assert {name for name in short if short[name] != long[name]} == {"epochs"}


def test_without_data_the_embedded_recipe_holds_and_flags_win():
    recipe = load_yaml(RECIPES / "embedded.yaml")
    config = resolve([])
    assert {name: value for name, value in to_dict(config).items() if name in recipe} == recipe
    assert (config.image_size, config.batch_size, config.projector_width) == (48, 64, 512)
    assert config.scaled_lr == 0.25
    assert config.warmup == config.epochs / 10
    changed = resolve(["--image-size=32", "--epochs=7"])
    assert changed == dataclasses.replace(config, image_size=32, epochs=7)
    # With --data not a single setting comes from the embedded recipe.
    assert resolve(WITH_DATA) == PretrainConfig(data="photos")


def test_a_written_config_read_back_is_the_same_config(tmp_path):
    for arguments in ([], ["--batch-size=32", "--keep-epochs=1,2"], [*WITH_DATA, "--lr=0.3", "--gamma=0"]):
        config = resolve(arguments)
        (tmp_path / "config.yaml").write_text(to_yaml(config))
        again = resolve([f"--config={tmp_path / 'config.yaml'}"])
        assert again == config
        assert again.scaled_lr == config.scaled_lr == config.lr * config.batch_size / 256


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"image_size": 64, "epochs": 3, "gamma": 0.1}))
    config = resolve([f"--config={tmp_path / 'mine.yaml'}", "--epochs=5"])
    assert (config.image_size, config.epochs, config.gamma, config.batch_size) == (64, 5, 0.1, 64)


def test_a_short_run_warms_up_for_a_tenth():
    assert resolve([*WITH_DATA, "--epochs=20"]).warmup == 2
    assert resolve([*WITH_DATA, "--epochs=100"]).warmup == 10
    assert resolve([*WITH_DATA, "--epochs=800"]).warmup == 10
    assert resolve([*WITH_DATA, "--epochs=20", "--warmup-epochs=0"]).warmup == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-size=1"], ["--batch-size is 1", "at least 2"]),
        (["--epochs=5", "--warmup-epochs=10"], ["--warmup-epochs 10", "--epochs 5", "shorter warm-up"]),
        ([f"--config={IMAGENET}", "--epochs=10"], ["--warmup-epochs 10", "--epochs 10"]),
        (["--epochs=0"], ["--epochs is 0", "above 0"]),
        (["--epochs=many"], ["--epochs is 'many'", "a whole number"]),
        (["--lr=-1"], ["--lr is -1", "above 0"]),
        (["--lr=.nan"], ["--lr is nan"]),
        (["--lr=1e41"], ["--lr is 1e+41", "more than float32 holds"]),
        (["--ema=1.5"], ["--ema is 1.5", "between 0 and 1"]),
        (["--image-size=0"], ["--image-size is 0"]),
        (["--workers=-1"], ["--workers is -1", "0 or more"]),
        (["--seed=-3"], ["--seed is -3"]),
        (["--micro-batch=0"], ["--micro-batch is 0"]),
        (["--keep-epochs=100,500"], ["--keep-epochs names 500", "1 to 400"]),
        (["--arch=resnet51"], ["--arch", "'resnet51'", "did you mean 'resnet50'"]),
        (["--precision=fp61"], ["--precision", "did you mean 'fp16'"]),
        (["--device=gpu"], ["--device", "'gpu'", "auto, cpu, cuda"]),
        (["--method=kernelssl"], ["--method", "did you mean 'kernel_ssl'"]),
        (["--optimizer=lasr"], ["--optimizer", "did you mean 'lars'"]),
        (["--logarithm=tailor"], ["--logarithm", "did you mean 'taylor'"]),
        (["--alignment=hisc"], ["--alignment", "did you mean 'hsic'"]),
        (["--kernel=gauss"], ["--kernel", "linear, rbf, laplace, polynomial"]),
        (["--uniformity=none", "--alignment=none"], ["leaves no loss"]),
        (["--bandwidth=1"], ["--bandwidth has no effect with --kernel linear"]),
        (["--batchsize=8"], ["there is no option --batchsize", "did you mean '--batch-size'"]),
    ],
    ids=lambda value: " ".join(value) if value and str(value[0]).startswith("--") else "",
)
def test_refused_in_one_sentence(arguments, words):
    with pytest.raises(UserError) as refused:
        resolve([*WITH_DATA, *arguments])
    text = str(refused.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_help_names_a_group_and_a_default_for_every_flag(capsys):
    with pytest.raises(SystemExit) as left:
        resolve(["--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for field in dataclasses.fields(PretrainConfig):
        assert flag_of(field) in text
        assert f"{field.metadata['group']}:" in text
