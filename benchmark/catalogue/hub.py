"""Files of the Hugging Face hub, by huggingface_hub: it downloads, continues and keeps them; this chooses the file."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub  # its parts are imported when they are used: a listing of the catalogue does not wait for them
from huggingface_hub import errors

from benchmark.core.errors import RunFailed, UserError

# In this order: what executes nothing first, then the usual name.
SAFE, USUAL = ".safetensors", ("model.safetensors", "pytorch_model.bin")
OTHERS = (".bin", ".pth", ".pt", ".ckpt", ".tar", ".pkl", ".torch")
SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


@dataclass(frozen=True)
class HubFile:
    """A file of the hub that is here: its path, address, SHA-256 as the hub states it, and the repository's licence."""

    path: Path
    url: str
    sha256: str | None
    licence: str | None


def split_word(word: str) -> tuple[str, str | None, str | None]:
    """Return repository, revision and file of ``hf:OWNER/NAME[@REVISION][/FILE]``. Raises ``UserError``."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.+))?", word)
    if not match or ".." in word:
        raise UserError(f"--weights {word} names no repository of the hub; write hf:OWNER/NAME or hf:OWNER/NAME/FILE.")
    return match[1], match[2], match[3]


def on_the_hub(word: str, folder: Path) -> HubFile:
    """Bring the file that a word names into `folder`, huggingface_hub's own cache structure.

    ``HF_ENDPOINT`` names another hub, as everywhere in huggingface_hub.

    Raises:
        UserError: no such repository, revision or file; not open to everybody; several files to choose from.
        RunFailed: the hub cannot be reached.
    """
    repo, revision, file = split_word(word)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        hub = huggingface_hub.HfApi(endpoint=endpoint)
        about = hub.model_info(repo, revision=revision, files_metadata=True, timeout=30)
        sizes = {item.rfilename: item for item in about.siblings or []}
        file = choose_file(word, list(sizes), file)
        path = huggingface_hub.hf_hub_download(repo, file, revision=about.sha, cache_dir=folder, endpoint=endpoint)
    except errors.GatedRepoError:
        raise UserError(
            f"{repo} is open only to those who accept its terms on the hub; do that, then log in."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(f"the hub has no repository {repo}, or it is private; check its name.") from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repo} has no revision {revision!r} on the hub; check it, or leave it out.") from None
    except errors.EntryNotFoundError:
        raise UserError(f"{repo} has no file {file!r} on the hub; check its name.") from None
    except UserError:
        raise
    except Exception as error:  # the hub's HTTP library differs between its versions, so its errors have no one name
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise RunFailed(
            f"{word} cannot be downloaded ({reason}); the same command goes on from what has come."
        ) from None
    large = sizes[file].lfs if file in sizes else None
    licence = getattr(about.card_data, "license", None)
    licence = ", ".join(licence) if isinstance(licence, list) else licence
    url = huggingface_hub.hf_hub_url(repo, file, revision=about.sha, endpoint=endpoint)
    return HubFile(Path(path), url, large.sha256 if large else None, licence if isinstance(licence, str) else None)


def choose_file(word: str, names: Sequence[str], wanted: str | None) -> str:
    """Return the one checkpoint of a repository: safetensors first, then the usual names. Raises ``UserError``."""
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{word}: there is no such file; the repository has {_listed(names)}.")
        return wanted
    whole = [name for name in names if not SHARD.search(name)]
    for ending in (SAFE, *OTHERS):
        found = [name for name in whole if name.endswith(ending)]
        usual = [name for name in found if name in USUAL]
        if len(usual or found) == 1:
            return (usual or found)[0]
        if found:
            raise UserError(f"{word} holds several checkpoints: {_listed(found)}; choose by {word}/FILE.")
    raise UserError(f"{word} holds no checkpoint of PyTorch in one file; it has {_listed(names)}.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "no files"
