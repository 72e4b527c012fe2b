"""Replacing an output folder whole: either everything in it is new, or nothing is."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError


@contextlib.contextmanager
def replaced_folder(out: Path, names: Collection[str]) -> Iterator[Path]:
    """A new folder beside `out` that takes its place when the block ends without an error, and is gone otherwise.

    names: the files that may be replaced; a folder that holds anything else is refused, so nothing of a user's is lost.
    Raises HeedError in place of any OSError, a full disk among them.
    """
    out = Path(os.path.abspath(out))  # "." has no name of its own
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    old = out.with_name(f".{out.name}.old-{os.getpid()}")
    try:
        _sweep(out)
        _check_replaceable(out, names)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        if out.exists():
            os.rename(out, old)
        os.rename(partial, out)
        _sync_folder(out.parent)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HeedError(
            "no space left on the disk" if full else f"cannot be written: {error.strerror or error}",
            str(error.filename or out),
            "free some space, or write to another disk" if full else "check the folder and its permissions",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not out.exists():
            os.rename(old, out)
        shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(out: Path, names: Collection[str]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise HeedError("output is a file, expected a folder", str(out), "name another folder")
    foreign = sorted(entry.name for entry in out.iterdir() if entry.name not in names)
    if foreign:
        raise HeedError(
            f"folder holds files that `heed prepare` did not write: {', '.join(foreign[:3])}",
            str(out),
            "name another folder",
        )


def _sweep(out: Path) -> None:
    """Put right what a killed process left: bring back the folder it had moved away, delete what is half written."""
    if not out.parent.is_dir():
        return
    for kind in ("old", "partial"):
        start = f".{out.name}.{kind}-"
        for entry in out.parent.iterdir():
            pid = entry.name.removeprefix(start)
            if not entry.name.startswith(start) or not pid.isdigit() or _alive(int(pid)):
                continue
            if kind == "old" and not out.exists():
                os.rename(entry, out)
            else:
                shutil.rmtree(entry, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # our own number, given again after a restart
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder; the rename itself is done
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class HashedFile:
    """A file that is being written, with its hash and counts."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.blake2b(digest_size=16)
        self.name = path.name
        self.rows = self.bytes = 0

    def write(self, line: bytes) -> None:
        self._file.write(line)
        self._hash.update(line)
        self.rows += 1
        self.bytes += len(line)

    def finish(self) -> dict[str, Any]:
        """Make sure that it is on the disk; what the card says about it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"name": self.name, "rows": self.rows, "bytes": self.bytes, "blake2": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()
