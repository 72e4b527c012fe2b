import subprocess
import sys

import numpy as np
import pytest

from heedlm.machine import keeps_freed_memory, peak_memory_bytes, return_free_memory


def test_the_peak_is_in_bytes_and_never_falls() -> None:
    before = peak_memory_bytes()
    block = np.ones(30_000_000, dtype=np.int8)
    assert 10_000_000 < before <= peak_memory_bytes() < 10**12
    del block
    return_free_memory()
    assert peak_memory_bytes() >= before


PROGRAM = """
import ctypes, sys
from heedlm.machine import MIB, keeps_freed_memory, return_memory_at_once

libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

libc.free(libc.malloc(30 * MIB))  # from now on glibc takes blocks up to this size from its heap
if sys.argv[1] == "at once":
    return_memory_at_once()
assert keeps_freed_memory() == (sys.argv[1] == "kept")
before, blocks = resident(), [libc.malloc(4 * MIB) for _ in range(40)]
for block in blocks:
    ctypes.memset(block, 1, 4 * MIB)
behind = libc.malloc(500_000)
for block in blocks:
    libc.free(block)
print(resident() - before)
"""


@pytest.mark.skipif(not keeps_freed_memory(), reason="only glibc keeps what is freed")
def test_memory_goes_back_at_once_when_asked_for() -> None:
    """In processes of their own, for there is no way back."""

    def left(how: str) -> int:
        command = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert left("kept") > 100_000  # kilobytes: nearly all of 160 MB stays before the one block that lies behind it
    assert left("at once") < 20_000
