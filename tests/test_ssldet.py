"""One command for all: it finds every script, completes in a real bash, and needs no torch to say what there is."""

import shutil
import subprocess
import sys

import pytest

from benchmark.core.errors import UserError
from benchmark.core.folder import ROOT
from transfer import ssldet


def test_help_names_every_command_without_torch():
    code = "import sys; from transfer import ssldet; ssldet.main(['--help']); assert not {'torch'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ssldet.COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", list(ssldet.COMMANDS))
def test_every_command_answers_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        ssldet.main([name, "--help"])
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_a_wrong_command_is_told_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'report'"):
        ssldet.main(["raport"])


def complete(words):
    """Return what bash offers for the last of `words`, using the script that the command prints."""
    script = ssldet.completion(["bash"])
    array = " ".join(f"'{word}'" for word in words)
    program = (
        f"{script}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _ssldet; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_and_flags():
    assert complete(["ssldet", "c"]) == ["convert", "coco", "classify", "check", "completion"]
    assert "--weights" in complete(["ssldet", "coco", "--w"])
    assert complete(["ssldet", "report", "--rec"]) == ["--records"]
    assert complete(["ssldet", "completion", "f"]) == ["fish"]


def test_the_other_shells_get_a_script_and_an_unknown_one_a_sentence():
    assert "bashcompinit" in ssldet.completion(["zsh"])
    assert "-l weights" in ssldet.completion(["fish"])
    with pytest.raises(UserError, match="bash, zsh, fish"):
        ssldet.completion(["tcsh"])
