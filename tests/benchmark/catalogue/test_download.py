"""Downloading from a real server: breaks, resuming, changed files, refusals, a full disk."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from benchmark.catalogue import download as downloading
from benchmark.catalogue.download import download
from benchmark.core.errors import RunFailed, UserError

CONTENT = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def said():
    return []


@pytest.fixture
def get(tmp_path, said):
    """Download into a folder; return the file's path."""

    def call(url, check=lambda part: None):
        path = tmp_path / "got" / "file.pth"
        download(url, path, check, said.append)
        return path

    return call


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "got").iterdir())


def test_file_arrives_whole_under_its_name_only(server, get, tmp_path):
    path = get(server.add("/f", CONTENT))
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == ["file.pth"]


def test_broken_transfers_continue_where_they_broke_off(server, get, said):
    url = server.add("/f", CONTENT, breaks=[1_000_000, 500_000])
    assert get(url).read_bytes() == CONTENT
    first, second, third = server.gets("/f")
    assert first is None
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in (second, third)]
    assert 0 < starts[0] <= 1_000_000
    assert starts[0] < starts[1] <= starts[0] + 500_000
    assert any("broke off" in text for text in said)


def test_killed_download_goes_on_in_the_next_call(server, get, tmp_path):
    url = server.add("/f", CONTENT, breaks=[1_200_000, 0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(RunFailed, match="the same command goes on"):
        get(url)
    assert left(tmp_path) == ["file.pth.part", "file.pth.part.json"]
    have = (tmp_path / "got" / "file.pth.part").stat().st_size
    assert 0 < have <= 1_200_000
    server.files["/f"].breaks.clear()
    server.requests.clear()
    assert get(url).read_bytes() == CONTENT
    assert server.gets("/f") == [f"bytes={have}-"]
    assert left(tmp_path) == ["file.pth"]


def test_file_that_changed_between_the_parts_is_downloaded_anew(server, get, said):
    url = server.add("/f", CONTENT, breaks=[1_000_000])
    server.files["/f"].after_request = lambda file: setattr(file, "content", OTHER)
    assert get(url).read_bytes() == OTHER
    assert any("the file has changed" in text for text in said)


def test_server_that_ignores_if_range_cannot_join_two_files(server, get):
    url = server.add("/f", CONTENT, breaks=[1_000_000], careless_ranges=True)
    server.files["/f"].after_request = lambda file: setattr(file, "content", OTHER)
    assert get(url).read_bytes() == OTHER


def test_server_without_ranges_begins_anew(server, get, said):
    url = server.add("/f", CONTENT, breaks=[1_000_000], ranges=False)
    assert get(url).read_bytes() == CONTENT
    assert any("whole files only" in text for text in said)


def test_server_without_any_version_is_never_asked_for_a_range(server, get):
    url = server.add("/f", CONTENT, breaks=[1_000_000], etag=None)
    assert get(url).read_bytes() == CONTENT
    assert server.gets("/f") == [None, None]


def test_weak_etag_gives_way_to_the_date(server, get):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    url = server.add("/f", CONTENT, breaks=[1_000_000], etag=lambda _: 'W/"x"', last_modified=date)
    assert get(url).read_bytes() == CONTENT
    assert [wanted is None for wanted in server.gets("/f")] == [True, False]


def test_part_longer_than_the_file_is_thrown_away(server, get, tmp_path):
    url = server.add("/f", CONTENT, breaks=[2_500_000, 0, 0, 0, 0])
    with pytest.raises(RunFailed):
        get(url)
    part = tmp_path / "got" / "file.pth.part"
    part.write_bytes(b"x" * (len(CONTENT) + 5))
    server.files["/f"].breaks.clear()
    assert get(url).read_bytes() == CONTENT


def test_part_of_another_address_is_not_continued(server, get):
    with pytest.raises(RunFailed):
        get(server.add("/a", OTHER, breaks=[1_000_000, 0, 0, 0, 0]))
    assert get(server.add("/b", CONTENT)).read_bytes() == CONTENT
    assert server.gets("/b") == [None]


def test_part_that_is_whole_already_is_only_checked(server, get, tmp_path):
    url = server.add("/f", CONTENT)
    with pytest.raises(KeyboardInterrupt):  # the process ends between the last byte and the new name
        get(url, check=lambda part: (_ for _ in ()).throw(KeyboardInterrupt()))
    (tmp_path / "got" / "file.pth").unlink(missing_ok=True)
    assert get(url).read_bytes() == CONTENT


def test_chunked_answer_without_a_length(server, get):
    assert get(server.add("/f", CONTENT, chunked=True)).read_bytes() == CONTENT


def test_busy_server_is_asked_again(server, get):
    assert get(server.add("/f", CONTENT, status=503, errors=2)).read_bytes() == CONTENT


def test_redirect_is_followed_and_a_loop_is_not(server, get):
    server.add("/real", CONTENT)
    assert get(server.add("/f", redirect=server.url + "/real")).read_bytes() == CONTENT
    with pytest.raises(UserError, match="redirected more than 10 times"):
        get(server.add("/loop", redirect=server.url + "/loop"))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "//[bad"])
def test_redirect_to_what_is_no_http_address(server, get, target):
    with pytest.raises(UserError, match="no http or https address"):
        get(server.add("/f", redirect=target))


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ({"status": 404}, "does not exist"),
        ({"status": 403}, "not open to everybody"),
        ({"status": 418}, "answers 418"),
        ({"content_type": "text/html; charset=utf-8"}, "a web page, not"),
        ({"headers": {"Content-Encoding": "gzip"}}, "compressed"),
    ],
)
def test_what_is_no_file_is_refused_in_a_sentence(server, get, tmp_path, behaviour, sentence):
    with pytest.raises(UserError, match=sentence):
        get(server.add("/f", CONTENT, **behaviour))
    assert not (tmp_path / "got" / "file.pth").exists()


def test_web_page_under_the_wrong_type_is_noticed(server, get):
    with pytest.raises(UserError, match="a web page, not"):
        get(server.add("/f", b"\n<!DOCTYPE html><title>Log in</title>"))


def test_server_that_is_not_there(get):
    with pytest.raises(RunFailed, match="cannot be downloaded"):
        get("http://127.0.0.1:9/f")


def test_file_refused_by_the_check_leaves_nothing(server, get, tmp_path):
    def check(part):
        raise UserError(f"wrong: {hashlib.sha256(part.read_bytes()).hexdigest()}")

    with pytest.raises(UserError, match=hashlib.sha256(CONTENT).hexdigest()):
        get(server.add("/f", CONTENT), check)
    assert left(tmp_path) == []


def test_file_larger_than_the_free_space_is_not_begun(server, get, tmp_path, monkeypatch):
    usage = downloading.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda folder: usage._replace(free=1_000))
    with pytest.raises(RunFailed, match="1,000 bytes free, 3,000,000 are needed"):
        get(server.add("/f", CONTENT))
    assert not (tmp_path / "got" / "file.pth").exists()


def test_file_larger_than_any_checkpoint_is_refused(server, get, monkeypatch):
    monkeypatch.setattr(downloading, "LARGEST", 1_000_000)
    with pytest.raises(UserError, match="more than any ResNet-50 checkpoint"):
        get(server.add("/f", CONTENT))
    with pytest.raises(UserError, match="more bytes than"):
        get(server.add("/g", CONTENT, chunked=True))


SCRIPT = """
import resource, signal, sys
from pathlib import Path
from benchmark.catalogue.download import download
from benchmark.core.errors import run_command
def main(argv):
    if sys.argv[3] == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    download(sys.argv[1], Path(sys.argv[2]), lambda part: None, print)
    return 0
raise SystemExit(run_command(main))
"""


def start(url, path, how):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, str(path), how], stderr=subprocess.PIPE, text=True, cwd=os.getcwd()
    )


def test_disk_that_gets_full_ends_in_a_sentence_and_goes_on_later(server, tmp_path):
    """The operating system itself refuses to write beyond 1 MB; afterwards there is room again."""
    url, path = server.add("/f", CONTENT), tmp_path / "file.pth"
    process = start(url, path, "full")
    assert (process.wait(60), "make room" in process.stderr.read()) == (1, True)
    assert not path.exists()
    assert start(url, path, "room").wait(60) == 0
    assert path.read_bytes() == CONTENT
    assert server.gets("/f")[-1] == "bytes=1000000-"


def test_process_killed_in_the_middle_continues(server, tmp_path):
    """SIGKILL while the server holds back the rest."""
    url, path = server.add("/f", CONTENT, stalls=[2_000_000]), tmp_path / "file.pth"
    process, part = start(url, path, "room"), tmp_path / "file.pth.part"
    while not part.exists() or part.stat().st_size < 1_000_000:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    assert start(url, path, "room").wait(60) == 0
    assert path.read_bytes() == CONTENT
    assert int(server.gets("/f")[-1].removeprefix("bytes=").rstrip("-")) >= 1_000_000
