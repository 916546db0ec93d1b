"""The command line of pre-training: recipes as defaults, every flag of every method, and what is refused."""

import dataclasses
import subprocess
import sys
import typing

import pytest
import yaml

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from benchmark.core.options import flag_of, load_yaml, own_options, to_dict, to_yaml
from benchmark.core.value_types import LARGEST_FLOAT32, option_types
from pretrain.images.options import ViewOptions
from pretrain.images.recipe import PUBLISHED
from pretrain.methods.registry import method_class, method_names
from pretrain.training import recipe
from pretrain.training.command_line import resolve
from pretrain.training.config import NOT_IDENTITY, PretrainConfig, make_config
from pretrain.training.recipe import NOT_RECIPE, SMALL, differences, recipe_file
from tests.pretrain.runs import environment

RECIPES = ROOT / "pretrain" / "recipes"
IMAGENET = RECIPES / "kernel_ssl_imagenet.yaml"
WITH_DATA = ["--data", "photos"]
METHODS = method_names()

# One other valid value of options whose next value cannot be guessed, with what has to be given beside it.
COMPANY = {
    "data": ["--data=elsewhere"],
    "output": ["--output=there"],
    "records": ["--records=there"],
    "keep_epochs": ["--keep-epochs=1,2"],
    "method": ["--method=simclr"],
    "lr_drops": ["--lr-schedule=steps", "--lr-drops=0.25,0.5"],
    "lr_schedule": ["--lr-schedule=steps"],
    "crop_scale": ["--crop-scale=0.1,0.9"],
    "crop_ratio": ["--crop-ratio=0.5,1.5"],
    "blur_p": ["--blur-p=0.3,0.4"],
    "blur_sigma": ["--blur-sigma=0.2,1.5"],
    "solarize_p": ["--solarize-p=0.3,0.4"],
    "jitter": ["--jitter=0.1,0.2,0.3,0.4"],
    "pixel_mean": ["--pixel-mean=0.1,0.2,0.3"],
    "pixel_std": ["--pixel-std=0.1,0.2,0.3"],
    "images": ["--images=100"],
    "micro_batch": ["--micro-batch=64"],
    "warmup_epochs": ["--warmup-epochs=3"],
    "images_per_second": ["--images-per-second=1000"],
    "arch": ["--arch=resnet18"],
    "device": ["--device=cpu"],
    "logarithm": ["--logarithm=exact"],
    "uniformity": ["--uniformity=none"],
    "alignment": ["--alignment=hsic"],
    "kernel": ["--kernel=laplace"],
    "bandwidth": ["--kernel=rbf", "--bandwidth=0.7"],
    "degree": ["--kernel=polynomial", "--degree=3"],
}


def options_of(method):
    """Return the fields of all options of a method's run, with their types, by name."""
    found = {}
    for kind in (PretrainConfig, ViewOptions, method_class(method).Options):
        types = option_types(kind)
        found |= {name: (field, types[name]) for name, field in own_options(kind).items()}
    return found


def arguments_for(name, field, kind, now):
    """Return flags that give an option another value than it has now."""
    flag = flag_of(name)
    if name in COMPANY and not (name.endswith("_p") and len(now) == 1):
        return COMPANY[name]
    if isinstance(now, bool):
        return [f"--no-{flag[2:]}" if now else flag]
    choices = [value for value in typing.get_args(kind) if isinstance(value, str)]
    if choices:
        return [f"{flag}={next(choice for choice in choices if choice != now)}"]
    if isinstance(now, int):
        return [f"{flag}={now + 1}"]
    if isinstance(now, list):
        return [f"{flag}=0.5"]
    return [f"{flag}={0.5 if now != 0.5 else 0.25}"]


def own_or_common():
    """Return (method, option): everything for Kernel-SSL, and for the others what is their own."""
    for method in METHODS:
        names = options_of("kernel_ssl") if method == "kernel_ssl" else own_options(method_class(method).Options)
        yield from ((method, name) for name in names)


@pytest.mark.parametrize(("method", "name"), list(own_or_common()))
def test_every_flag_changes_its_setting_and_the_identity_if_it_changes_the_result(method, name):
    start = [f"--method={method}", *WITH_DATA]
    before = resolve(start)
    field, kind = options_of(method)[name]
    arguments = arguments_for(name, field, kind, to_dict(before)[name])
    after = resolve([*(word for word in start if name != "method" or "method" not in word), *arguments])
    if name == "method":
        assert after.method == "simclr"
        return
    changed = {key for key, value in to_dict(after).items() if value != to_dict(before)[key]}
    given = {word.removeprefix("--").removeprefix("no-").partition("=")[0].replace("-", "_") for word in arguments}
    assert name in changed <= given
    assert (after.identity(10) != before.identity(10)) == (name not in NOT_IDENTITY)


@pytest.mark.parametrize("method", METHODS)
def test_the_imagenet_recipe_says_everything_and_is_the_default(method):
    path = RECIPES / f"{method}_imagenet.yaml"
    content = load_yaml(path)
    says = set(content) | {name for values in content.get("by_epochs", {}).values() for name in values}
    free = NOT_RECIPE | {
        "images",
        "micro_batch",
        "lr_drops",
        "lr_final",
        "trace_term",
        "hsic_weight",
        "kernel",
        "bandwidth",
        "degree",
    }
    assert set(options_of(method)) - free <= says
    config = resolve([f"--method={method}", *WITH_DATA])
    assert config.epochs == content["epochs"]
    assert resolve([*WITH_DATA, f"--config={path}"]) == dataclasses.replace(config, warmup_epochs=config.warmup)
    assert differences(config) == {}
    assert config.augmentation.recipes() == PUBLISHED.get(method, config.augmentation.recipes())
    text = path.read_text()
    for line in text.splitlines():  # every value has its source beside it; those by length, on the line above them
        assert line.startswith(("#", " ", "method:")) or len(line.partition(" # ")[2]) >= 4, line
    assert "precision:" in text
    assert "views: reference" in text
    assert "--precision bf16 --views fast" in text


# From the released code: peak learning rate in use, decay, batch, optimiser, warm-up epochs, zero-initialised norms.
RELEASED = {
    "kernel_ssl": (2.0, 1e-5, 1024, "sgd", 10, True),
    "simclr": (4.8, 1e-6, 4096, "lars_classic", 10, True),
    "moco_v1": (0.03, 1e-4, 256, "sgd", 0, False),
    "moco_v2": (0.03, 1e-4, 256, "sgd", 0, False),
    "byol": (3.2, 1.5e-6, 4096, "lars", 10, True),
    "swav": (4.8, 1e-6, 4096, "larc", 10, False),
    "simsiam": (0.1, 1e-4, 512, "sgd", 0, True),
    "barlow_twins": (1.6, 1e-6, 2048, "lars", 10, True),
    "vicreg": (1.6, 1e-6, 2048, "lars", 10, True),
    "mec": (2.0, 1e-5, 1024, "sgd", 10, True),
    "supervised": (0.1, 1e-4, 256, "sgd", 0, False),
}


@pytest.mark.parametrize("method", RELEASED)
def test_the_defaults_are_the_released_values(method):
    c = resolve([f"--method={method}", *WITH_DATA])
    found = (c.scaled_lr, c.weight_decay, c.batch_size, c.optimizer, c.warmup, c.zero_init)
    assert found[:2] == pytest.approx(RELEASED[method][:2])
    assert found[2:] == RELEASED[method][2:]


@pytest.mark.parametrize(
    ("epochs", "lr", "ema", "decay"),
    [(40, 0.45, 0.97, 1e-6), (100, 0.45, 0.99, 1e-6), (300, 0.3, 0.99, 1e-6), (1000, 0.2, 0.996, 1.5e-6),
     (400, 0.3, 0.99, 1e-6), (800, 0.2, 0.996, 1.5e-6)],
)  # fmt: skip
def test_byol_takes_the_preset_of_its_length(epochs, lr, ema, decay):
    recipe = f"--config={RECIPES / 'byol_imagenet.yaml'}"
    for arguments in (["--method=byol"], [recipe]):
        config = resolve([*WITH_DATA, *arguments, f"--epochs={epochs}"])
        assert (config.lr, config.options.ema, config.weight_decay) == (lr, ema, decay)
        assert differences(config) == {}
    assert resolve([*WITH_DATA, recipe, f"--epochs={epochs}", "--lr=7"]).lr == 7


def test_vicreg_takes_the_learning_rate_of_its_length():
    lrs = [resolve([*WITH_DATA, "--method=vicreg", f"--epochs={epochs}"]).lr for epochs in (100, 1000)]
    assert lrs == [0.3, 0.2]


def test_what_differs_from_the_released_run_is_found_by_comparing():
    config = resolve([*WITH_DATA, "--precision=bf16", "--views=fast", "--gamma=0.1", "--seed=3", "--epochs=800"])
    assert differences(config) == {
        "precision": {"released": "fp32", "here": "bf16"},
        "views": {"released": "reference", "here": "fast"},
        "gamma": {"released": 1.0, "here": 0.1},
    }
    cut = differences(resolve([*WITH_DATA, "--method=mec", "--micro-batch=64", "--images=1000", "--flip-p=0"]))
    assert cut == {
        "micro_batch": {"released": None, "here": 64},
        "images": {"released": None, "here": 1000},
        "flip_p": {"released": 0.5, "here": 0.0},
    }
    assert differences(resolve([*WITH_DATA, "--kernel=rbf"])) == {"kernel": {"released": "linear", "here": "rbf"}}


def test_400_and_800_epochs_differ_in_epochs_alone():
    short, long = (to_dict(resolve([*WITH_DATA, f"--config={IMAGENET}", f"--epochs={n}"])) for n in (400, 800))
    assert {name for name in short if short[name] != long[name]} == {"epochs"}


@pytest.mark.parametrize("method", METHODS)
def test_without_data_the_embedded_recipe_holds_over_the_other_and_flags_win(method):
    small, all_others = recipe_file(method, "embedded"), to_dict(resolve([f"--method={method}"]))
    own = load_yaml(small) if small else SMALL
    assert {name: value for name, value in all_others.items() if name in own} == own
    released = to_dict(resolve([f"--method={method}", *WITH_DATA]))
    assert {n for n, v in all_others.items() if v != released[n]} <= {*own, "data"}
    assert (all_others["image_size"], all_others["batch_size"]) == (48, 64)
    changed = resolve([f"--method={method}", "--image-size=32"])
    assert changed == dataclasses.replace(resolve([f"--method={method}"]), image_size=32)


def test_a_written_config_read_back_is_the_same_config(tmp_path):
    for arguments in ([], ["--method=byol", "--keep-epochs=1,2"], [*WITH_DATA, "--lr=0.3", "--method=supervised"]):
        config = resolve(arguments)
        (tmp_path / "config.yaml").write_text(to_yaml(config))
        again = resolve([f"--config={tmp_path / 'config.yaml'}"])
        assert again == config
        assert again.scaled_lr == config.scaled_lr
        assert make_config(**to_dict(config)) == config


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"image_size": 64, "epochs": 3, "gamma": 0.1}))
    config = resolve([f"--config={tmp_path / 'mine.yaml'}", "--epochs=5"])
    assert (config.image_size, config.epochs, config.options.gamma, config.batch_size) == (64, 5, 0.1, 64)


def test_the_last_file_wins_also_over_values_by_length(tmp_path):
    (tmp_path / "mine.yaml").write_text("lr: 7\n")
    mine, preset = f"--config={tmp_path / 'mine.yaml'}", f"--config={RECIPES / 'byol_imagenet.yaml'}"
    assert resolve([*WITH_DATA, mine, preset]).lr == 0.2
    assert resolve([*WITH_DATA, preset, mine]).lr == 7
    assert resolve([*WITH_DATA, preset, mine, "--lr=3"]).lr == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("temperature: 0.1", "temperature belongs to --method"),
        ("temprature: 0.1", "unknown option 'temprature'"),
        ("by_epochs: {100: {temprature: 1}}", "unknown option 'temprature'"),
        ("by_epochs: {100: {lr: much}}", "lr in"),
        ("by_epochs: {abc: {lr: 1}}", "by_epochs must give"),
        ("by_epochs: {0: {lr: 1}}", "by_epochs must give"),
        (f"by_epochs: {{1{'0' * 400}: {{lr: 1}}}}", "by_epochs must give"),
        ("by_epochs: {100: 3}", "by_epochs must give"),
        ("by_epochs: 3", "by_epochs must give"),
    ],
)
def test_files_with_values_by_length_are_checked_as_others_are(tmp_path, line, words):
    path = tmp_path / "mine.yaml"
    preset = "" if line.startswith("by_epochs") else "by_epochs: {100: {lr: 0.3}}\n"
    path.write_text(f"method: byol\nepochs: 100\n{preset}{line}\n")
    with pytest.raises(UserError, match=words) as refused:
        resolve([*WITH_DATA, f"--config={path}"])
    assert str(path) in str(refused.value)


def test_a_run_of_an_earlier_version_goes_on_where_new_options_are_at_what_it_did():
    added = {"compile", "crop_ratio", "blur_sigma", "flip_p"}
    assert not added & set(resolve(WITH_DATA).identity(10)["config"])
    assert resolve([*WITH_DATA, "--flip-p=0"]).identity(10)["config"]["flip_p"] == 0


def test_a_short_run_warms_up_for_a_tenth():
    assert resolve([*WITH_DATA, "--epochs=20"]).warmup == 2
    assert resolve([*WITH_DATA, "--epochs=100"]).warmup == 10
    assert resolve([*WITH_DATA, "--epochs=800"]).warmup == 10
    assert resolve([*WITH_DATA, "--epochs=20", "--warmup-epochs=0"]).warmup == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-size=1"], ["--batch-size is 1", "2 or more"]),
        (["--epochs=5", "--warmup-epochs=10"], ["--warmup-epochs 10", "--epochs 5", "shorter warm-up"]),
        ([f"--config={IMAGENET}", "--epochs=10"], ["--warmup-epochs 10", "--epochs 10"]),
        (["--epochs=5", "--warmup-epochs=5"], ["--warmup-epochs 5", "--epochs 5"]),
        (["--lr-schedule=steps", "--lr-drops=0.5,0.5"], ["--lr-drops 0.5,0.5 must ascend"]),
        (["--lr-schedule=steps", "--lr-drops=0.6,0.5"], ["--lr-drops 0.6,0.5 must ascend"]),
        (["--keep-epochs=0"], ["--keep-epochs names 0"]),
        (["--image-size=4097"], ["--image-size is 4097"]),
        (["--batch-size=1048577"], ["--batch-size is 1048577"]),
        (["--epochs=0"], ["--epochs is 0", "above 0"]),
        (["--epochs=many"], ["--epochs is 'many'", "a whole number"]),
        (["--lr=-1"], ["--lr is -1", "above 0"]),
        (["--lr=.nan"], ["--lr is nan"]),
        (["--lr=1e39"], ["--lr is 1e+39", "at most 3.4e+38"]),
        (["--lr=3e38"], ["--lr is 3e+38", "more than float32 holds"]),
        (["--workers=1000000000000"], ["--workers is 1000000000000", "between 0 and 1024"]),
        (["--taylor-order=1000000000000"], ["--taylor-order is 1000000000000", "between 1 and 100"]),
        (["--data="], ["--data cannot be ''", "empty"]),
        (["--ema=1.5"], ["--ema is 1.5", "between 0 and 1"]),
        (["--image-size=0"], ["--image-size is 0"]),
        (["--workers=-1"], ["--workers is -1"]),
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
        (["--temperature=1"], ["--temperature belongs to --method", "simclr", "not to kernel_ssl"]),
        (["--method=swav", "--mu=1"], ["--mu belongs to --method kernel_ssl, not to swav"]),
        (["--method=simclr", "--temperatur=1"], ["there is no option --temperatur", "'--temperature'"]),
        (["--lr-drops=0.5"], ["--lr-drops 0.5 has no effect with --lr-schedule cosine"]),
        (["--method=moco_v1", "--lr-schedule=cosine"], ["--lr-drops 0.6,0.8 has no effect", "--lr-drops '' if"]),
        (["--method=swav", "--lr=0.1"], ["--warmup-lr 0.3 is above the peak 0.1", "a smaller one"]),
        (["--blur-sigma=2,1"], ["--blur-sigma 2,1 ends before it begins"]),
        (["--crop-ratio=0,1"], ["--crop-ratio lists 0", "above 0"]),
        (["--jitter=0.4,0.4,0.4,0.6"], ["--jitter lists 0.6", "4 values A,B,C,D", "D a number between 0 and 0.5"]),
        (["--crop-scale=0.9,0.1"], ["--crop-scale 0.9,0.1 ends before it begins"]),
        (["--pixel-std=0,1,1"], ["--pixel-std holds a 0"]),
        (["--blur-p=1,0,1"], ["--blur-p names 3 views and --solarize-p 2"]),
    ],
    ids=lambda value: " ".join(value) if value and str(value[0]).startswith("--") else "",
)
def test_refused_in_one_sentence(arguments, words):
    with pytest.raises(UserError) as refused:
        resolve([*WITH_DATA, *arguments])
    text = str(refused.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_the_ends_of_every_range_are_allowed():
    config = resolve([*WITH_DATA, "--keep-epochs=1,400", "--image-size=4096", "--batch-size=2"])
    assert (config.keep_epochs, config.image_size, config.batch_size) == ((1, 400), 4096, 2)
    assert resolve([*WITH_DATA, "--batch-size=1048576", "--lr=0.001"]).batch_size == 2**20
    assert make_config(lr=LARGEST_FLOAT32, lr_scaling="none").scaled_lr == LARGEST_FLOAT32


@pytest.mark.parametrize(
    ("scaling", "lr", "words"),
    [("linear", 1.2, "0.3 x 1024/256 = 1.2"), ("sqrt", 9.6, "0.3 x root of 1024 = 9.6"), ("none", 0.3, "0.3 = 0.3")],
)
def test_the_learning_rate_is_scaled_with_the_batch(scaling, lr, words):
    config = resolve([*WITH_DATA, "--lr=0.3", "--batch-size=1024", f"--lr-scaling={scaling}"])
    assert config.scaled_lr == pytest.approx(lr)
    assert config.scaling_words == words


def test_what_no_recipe_says_has_the_defaults_of_the_documentation():
    config = resolve(WITH_DATA)
    assert (config.seed, config.keep_every, config.keep_epochs, config.diagnose_every) == (0, 0, (), 0)
    assert (config.checkpoint_minutes, config.log_every, config.device) == (10.0, 10, "auto")
    assert (config.resume, config.dry_run, config.compile) == (True, False, False)
    plain = make_config()  # without any recipe
    assert (plain.epochs, plain.lr, plain.batch_size, plain.image_size, plain.workers) == (400, 0.5, 1024, 224, 8)
    assert (plain.warmup_lr, plain.lr_final, plain.weight_decay, plain.zero_init) == (0.0, 0.0, 1e-5, True)


def test_a_method_without_a_recipe_for_the_embedded_photographs_has_small_sizes(monkeypatch):
    monkeypatch.setattr(recipe, "recipe_file", lambda m, kind: recipe_file(m, kind) if kind == "imagenet" else None)
    config = resolve(["--method=simclr"])
    assert (config.epochs, config.images, config.image_size, config.batch_size) == (2, 6000, 48, 64)
    assert (config.workers, config.log_every, config.precision, config.views) == (0, 5, "bf16", "fast")
    assert config.warmup == 0.2


def test_help_alone_names_the_methods_and_imports_no_torch():
    code = "import sys; sys.modules['torch'] = None\nfrom pretrain.run import main\nmain(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(method in done.stdout for method in METHODS)
    assert "--projector-width" not in done.stdout
    assert all(flag_of(name) in done.stdout for name in own_options(PretrainConfig))


@pytest.mark.parametrize("method", ["kernel_ssl", "barlow_twins"])
def test_help_of_a_method_names_a_group_and_a_default_for_every_flag(capsys, method):
    with pytest.raises(SystemExit) as left:
        resolve(["--help", f"--method={method}"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for name, (field, _) in options_of(method).items():
        assert flag_of(name) in text
        assert f"{field.metadata['group']}:" in text
    assert ("--lambd" in text) == (method == "barlow_twins")
