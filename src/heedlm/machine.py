"""What this process takes from the machine, and what it can give back."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

MIB = 2**20


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far (kilobytes on Linux, bytes on macOS, says getrusage(2))."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def return_free_memory() -> None:
    """Hand memory that was freed back to the system where glibc keeps it.

    Batches of documents have other sizes at every step, so glibc's heap fills with holes: after 12 steps on a 5M model
    1.6 GB were resident of which 0.65 GB were in use, and it went on growing. A call takes about 0.15 s.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def keeps_freed_memory() -> bool:
    """Whether memory that is freed stays with the process, in holes, until somebody asks for it back: glibc's way."""
    return _malloc_trim() is not None and not _at_once


def return_memory_at_once() -> None:
    """From now on large blocks go back to the system when they are freed, where glibc would keep them.

    Blocks of 1 MiB and more are mapped by themselves (mallopt(3), M_MMAP_THRESHOLD) once the holes there are have been
    used. On a 35M model whose layers are computed again, tensors of 0.5 GB had a heap of 2.0 GB, and then of 0.6 GB. Every
    such block is cleared anew by the system, which costs time; so this is for those who are short of memory.
    """
    if keeps_freed_memory() and ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, MIB) == 1:
        _at_once.append(True)


_M_MMAP_THRESHOLD = -3
_at_once: list[bool] = []  # a choice for the rest of the process: glibc offers no way back to its adaptive threshold


@lru_cache(maxsize=1)
def _malloc_trim() -> ctypes._CFuncPtr | None:  # type: ignore[name-defined,unused-ignore]
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # musl has no such function
        return None
