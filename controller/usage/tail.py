"""Follows a file of lines that others append to, rotate and truncate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from controller.errors import UsageError

CHUNK_BYTES = 4 * 1024 * 1024
"""Read at once. A line that does not fit is told in parts, which nobody will understand. A guess."""

HEAD_BYTES = 256
"""By its first bytes a file is known again: inodes are given to new files, and copies have others."""

LINGER = timedelta(seconds=10)
"""A file that was renamed is written to until its writer notices. A guess: log rotation signals at once."""

PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip"})


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where a file was read. In text: inode:offset:head."""

    inode: int
    offset: int
    head: str

    def __str__(self) -> str:
        return f"{self.inode}:{self.offset}:{self.head}"

    @classmethod
    def parsed(cls, text: str) -> Place | None:
        parts = text.split(":")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            return None
        return cls(int(parts[0]), int(parts[1]), parts[2])


@dataclass(frozen=True, slots=True)
class Tail:
    """The file at ``path`` and what it was renamed to. It holds nothing open between rounds.

    horizon   what was last written longer ago is not read: its records would be too old
    """

    path: Path
    horizon: timedelta = timedelta(days=3)

    def portions(self, since: str, now: datetime) -> Iterator[tuple[list[bytes], str]]:
        """Finished lines after the place ``since`` ("": from the beginning of the file), and the place after them.

        An unfinished last line waits. A renamed file is left for the next one when nobody has written to it for a
        while. UsageError when something cannot be read.
        """
        try:
            yield from self._portions(Place.parsed(since), now)
        except OSError as error:
            raise UsageError(
                f"cannot read {error.filename or self.path}: {error.strerror}; the next round tries again"
            ) from error

    def _portions(self, since: Place | None, now: datetime) -> Iterator[tuple[list[bytes], str]]:
        for path, offset in self._files(since, now):
            is_rotated = path != self.path
            yield from _read(path, offset, is_rotated and _is_quiet(path, now))
            if is_rotated and not _is_quiet(path, now):
                return

    def _files(self, since: Place | None, now: datetime) -> list[tuple[Path, int]]:
        """Which files to read and from where, oldest first, the one that is written to last."""
        current = [self.path] if self.path.exists() else []
        if since is None:
            return [(path, 0) for path in current]
        files = [*self._rotated(now - self.horizon), *current]
        found = next((path for path in files if _holds(path, since, same_inode=True)), None)
        found = found or next((path for path in files if _holds(path, since, same_inode=False)), None)
        if found is None:  # it was packed or deleted: all that is there, for what was read already is known by its ids
            return [(path, 0) for path in files]
        at = files.index(found)
        return [(found, since.offset), *((path, 0) for path in files[at + 1 :])]

    def _rotated(self, since: datetime) -> list[Path]:
        """access.log.1, access.log-20261121, access-2026-11-21.log: the last written last."""
        names = (path for path in self.path.parent.glob(f"{_escaped(self.path.stem)}*") if path.is_file())
        mine = [path for path in names if self._is_mine(path.name) and path.suffix not in PACKED]
        written = {path: path.stat().st_mtime for path in mine}
        return sorted(
            (path for path in mine if written[path] >= since.timestamp()), key=lambda path: (written[path], path.name)
        )

    def _is_mine(self, name: str) -> bool:
        stem, suffix = self.path.stem, self.path.suffix
        after = name.removeprefix(self.path.name)
        dated = (
            name.startswith(f"{stem}-") and name.endswith(suffix) and name[len(stem) + 1 : len(stem) + 2].isdecimal()
        )
        return name != self.path.name and (dated or (after != name and after[:1] in ".-" and after[1:2].isdecimal()))


def _escaped(text: str) -> str:
    return "".join(f"[{one}]" if one in "*?[" else one for one in text)


def _is_quiet(path: Path, now: datetime) -> bool:
    return now - datetime.fromtimestamp(path.stat().st_mtime, UTC) >= LINGER


def _holds(path: Path, place: Place, *, same_inode: bool) -> bool:
    """Whether ``path`` is the file of ``place``. A copy has another inode; it is known by how it begins."""
    stat = path.stat()
    if stat.st_size < place.offset or (same_inode and stat.st_ino != place.inode):
        return False
    return (same_inode or place.offset > 0) and _head(path, place.offset) == place.head


def _head(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        return blake2b(file.read(min(offset, HEAD_BYTES)), digest_size=8).hexdigest()


def _read(path: Path, offset: int, is_finished: bool) -> Iterator[tuple[list[bytes], str]]:
    inode = path.stat().st_ino
    while True:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
        end = chunk.rfind(b"\n") + 1
        if end == 0 and (is_finished or len(chunk) == CHUNK_BYTES):
            end = len(chunk)
        if end == 0:
            return
        offset += end
        yield chunk[:end].split(b"\n"), str(Place(inode, offset, _head(path, offset)))
