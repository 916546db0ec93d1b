"""Taking the one checkpoint out of an archive. A torch file is a zip archive itself and is left alone."""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmark.catalogue.download import LARGEST, PIECE
from benchmark.core.errors import UserError
from benchmark.core.files import atomic_writer

ENDINGS = (".pth", ".pt", ".tar", ".ckpt", ".torch", ".pkl", ".safetensors", ".bin")
LEGACY_TORCH = {"sys_info", "pickle", "storages", "tensors"}  # members of torch's own tar files, before 0.2
MOST_MEMBERS = 10_000


def checkpoint_in(path: Path) -> Path:
    """Return `path` itself unless it is an archive; otherwise its one checkpoint, unpacked beside it.

    Raises:
        UserError: the archive is damaged, or holds no checkpoint, or several (they are named).
    """
    try:
        if zipfile.is_zipfile(path):
            return _from_zip(path)
        if path.name.endswith((".tar", ".tar.gz", ".tgz")) and tarfile.is_tarfile(path):
            return _from_tar(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path} is a damaged or protected archive ({error}); download it again.") from None
    return path


def _from_zip(path: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if any(name.endswith("data.pkl") for name in names):
            return path  # a torch file
        chosen = _choose(path, names)
        with archive.open(chosen) as member:
            return _write(path, chosen, member)


def _from_tar(path: Path) -> Path:
    with tarfile.open(path) as archive:
        names = [info.name for info in _members(path, archive) if info.isfile()]
        if set(names) >= LEGACY_TORCH:
            return path
        chosen = _choose(path, names)
        member = archive.extractfile(chosen)
        assert member is not None  # it is a regular file
        with member:
            return _write(path, chosen, member)


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, info in enumerate(archive):
        if number > MOST_MEMBERS or info.offset > LARGEST:
            raise UserError(f"{path} is a larger archive than any around a checkpoint; unpack it by hand.")
        yield info


def _choose(path: Path, names: list[str]) -> str:
    found = [name for name in names if name.endswith(ENDINGS) and not Path(name).name.startswith(".")]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    what = f"holds {len(found)} checkpoints ({listed})" if found else "holds no checkpoint"
    raise UserError(f"{path} is an archive that {what}; unpack it and give the path of one file.")


def _write(path: Path, name: str, member: IO[bytes]) -> Path:
    """Write a member beside its archive, under its own last name only: no archive decides where files go."""
    target = path.with_name(f"{path.name}.unpacked-{Path(name).name}")
    written = 0
    with atomic_writer(target) as file:
        while piece := member.read(PIECE):
            written += len(piece)
            if written > LARGEST:
                raise UserError(f"{path} unpacks to more than any ResNet-50 checkpoint has; it is refused.")
            file.write(piece)
    return target
