"""What decides the bytes of packed shards."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Packing:
    """``shard_mb``: size of a shard in MB.  ``resize``: shorter side in px, None: as it is.  ``quality``: of resized
    JPEG and WebP, 1 to 100, None without resizing."""

    shard_mb: int
    resize: int | None
    quality: int | None

    @property
    def shard_bytes(self) -> int:
        """Bytes after which a shard is full."""
        return self.shard_mb * 10**6
