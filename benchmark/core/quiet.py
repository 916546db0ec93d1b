"""What libraries say about their own future, and users can do nothing about, stays off the screen."""

import logging
import warnings

ABOUT = (
    r"torch\.jit",
    "pkg_resources",
    r"torch\.meshgrid",
    "not writable",
    "broadcast_buffers",  # its successor is younger than the oldest torch that we take
    "worker processes in total",  # workers that prepare views wait for the disk, not for the core
)


def ignore_announcements() -> None:
    """Ignore them from now on; commands call it before they import what announces something on import."""
    warnings.filterwarnings("ignore", message=f".*({'|'.join(ABOUT)}).*")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
