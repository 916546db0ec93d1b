"""The strict walk over an archive finds what tarfile finds, and refuses what training data must not be."""

import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from benchmark.core.errors import UserError
from pretrain.shards.storage import parts_of
from pretrain.shards.tar_members import members
from tests.pretrain.shards.conftest import write_tar


def walked(path):
    return list(members(parts_of(str(path)), os.path.getsize(path), "x.tar"))


NAMES = [
    "a/1.jpg",
    "b c.png",
    "ü/ñ.jpg",
    "\udcff\udcfe.jpg",
    "d/" * 60 + "long.jpg",
    "e" * 120 + ".jpg",
    "f/" * 150 + "1.jpg",
]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_places_and_sizes_are_those_of_tarfile(tmp_path, form):
    names = NAMES[:5] if form == tarfile.USTAR_FORMAT else NAMES
    contents = [bytes([i]) * size for i, size in enumerate((0, 1, 511, 512, 513, 5000, 7))]
    path = write_tar(tmp_path / "x.tar", zip(names, contents, strict=False), format=form)
    found = walked(path)
    with tarfile.open(path) as tar:
        theirs = [(info.name, info.offset_data, info.size) for info in tar]
    assert [(m.name, m.offset, m.size) for m in found] == theirs
    raw = path.read_bytes()
    assert [raw[m.offset : m.offset + m.size] for m in found] == contents[: len(names)]


def test_the_pax_headers_of_odd_dates_and_owners_are_read(tmp_path):
    infos = []
    for i in range(3):
        info = tarfile.TarInfo(f"{i}.jpg")
        info.mtime, info.uname = 1234.5678 + i, "ü" * 50
        infos.append((info, b"x" * i))
    found = walked(write_tar(tmp_path / "x.tar", infos, format=tarfile.PAX_FORMAT))
    assert [(m.name, m.size) for m in found] == [("0.jpg", 0), ("1.jpg", 1), ("2.jpg", 2)]


def test_folders_are_passed_over_and_points_at_the_front_are_no_part_of_a_name(tmp_path):
    (tmp_path / "f" / "a").mkdir(parents=True)
    (tmp_path / "f" / "a" / "1.jpg").write_bytes(b"1")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "f", ".")
    assert [m.name for m in walked(tmp_path / "x.tar")] == ["a/1.jpg"]


def special(kind, name="a/1.jpg"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "elsewhere"
    return info


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (special(tarfile.SYMTYPE), "holds a link"), (special(tarfile.LNKTYPE), "holds a link"),
        (special(tarfile.FIFOTYPE), "holds a pipe"), (special(tarfile.CHRTYPE), "holds a device"),
        (special(tarfile.GNUTYPE_SPARSE), "holds a sparse file"), (special(b"Z"), "unknown kind"),
        ("/etc/1.jpg", "leads out"), ("a/../../1.jpg", "leads out"),
    ],
)  # fmt: skip
def test_what_is_no_plain_image_in_a_folder_is_refused(tmp_path, member, said):
    path = write_tar(tmp_path / "x.tar", [("ok.jpg", b"x"), (member, b"")])
    with pytest.raises(UserError, match=said):
        walked(path)


def whole(tmp_path):
    return write_tar(tmp_path / "x.tar", [(f"{i}.jpg", b"%d" % i * 700) for i in range(5)])


def test_cut_off_anywhere_it_is_refused_also_between_two_members(tmp_path):
    path = whole(tmp_path)
    content, (*_, last) = path.read_bytes(), walked(path)
    end = last.offset + 1024
    for length in [0, 1, 511, 512, 600, 1536, 1537, 3 * 1536, end - 1, end, end + 511]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut off or damaged: .*copy or pack it again|is no tar archive"):
            walked(path)
    path.write_bytes(content[: end + 512])  # one block of the end mark is enough
    assert len(walked(path)) == 5


def test_compressed_and_other_files_are_named(tmp_path):
    path = whole(tmp_path)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=r"is compressed, .*plain \.tar"):
        walked(path)
    path.write_bytes(b"this is a text\n" * 100)
    with pytest.raises(UserError, match="is no tar archive"):
        walked(path)


def with_size(content, at, size):
    """Return an archive whose header at byte `at` claims another size, with a right checksum."""
    header = bytearray(content[at : at + 512])
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:at] + bytes(header) + content[at + 512 :]


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\x7f" * 11, b"\xff" * 12])
def test_a_huge_or_negative_size_takes_no_memory(tmp_path, size):
    path = whole(tmp_path)
    content = with_size(path.read_bytes(), 1536, size)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cut off or damaged"):
        walked(path)


def test_sizes_in_base_256_are_read_as_gnu_tar_writes_them(tmp_path):
    path = whole(tmp_path)
    path.write_bytes(with_size(path.read_bytes(), 1536, b"\x80" + b"\0" * 9 + (700).to_bytes(2, "big")))
    assert [m.size for m in walked(path)] == [700] * 5


def test_a_name_or_header_of_many_bytes_is_not_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    for kind, size in ((tarfile.GNUTYPE_LONGNAME, 1 << 20), (tarfile.XHDTYPE, 1 << 22)):
        info.type, info.size = kind, size
        (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(size) + bytes(1024))
        with pytest.raises(UserError, match="a name or header of"):
            walked(tmp_path / "x.tar")


def test_no_damaged_byte_ends_in_anything_but_a_sentence(tmp_path):
    infos = [(name, b"x" * 100) for name in NAMES]
    content = write_tar(tmp_path / "x.tar", infos, format=tarfile.PAX_FORMAT).read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(int(draw.integers(1, 4))):
            damaged[int(draw.integers(len(content) - 10240))] = int(draw.integers(256))
        raw = io.BytesIO(bytes(damaged))

        def part(offset, length, raw=raw):
            raw.seek(offset)
            return raw.read(length)

        try:
            for member in members(part, len(damaged), "x.tar"):
                assert member.offset + member.size <= len(damaged)
        except UserError:
            pass
