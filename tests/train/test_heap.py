"""Freed memory is kept, or given back at once; in processes of their own, for glibc offers no way back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from heedlm.train.heap import keeps_freed_memory

PROGRAM = """
import ctypes, sys
from heedlm.machine import MIB
from heedlm.train.heap import keeps_freed_memory, return_memory_at_once

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


STEADY = """
import ctypes, resource, sys
import torch
from heedlm.machine import return_free_memory
from heedlm.train.heap import keep_freed_memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

if sys.argv[1] == "kept":
    keep_freed_memory(2**29)
taken = []
for step in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(10 * 2**20) for _ in range(5)]  # 40 MiB each: glibc maps them one by one
    del blocks
    taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
kept = resident()
return_free_memory()
print(min(taken[1:]), kept - resident())  # the least: a system short of memory may take idle pages back at any time
"""


@pytest.mark.skipif(not keeps_freed_memory(), reason="only glibc keeps what is freed")
def test_a_step_gets_the_memory_of_the_one_before_without_a_page_fault() -> None:
    def faults(how: str) -> tuple[int, int]:
        command = [sys.executable, "-c", STEADY, how]
        first, second = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(first), int(second)

    assert faults("left alone")[0] > 10_000
    again, given_back = faults("kept")
    assert again < 1000
    assert given_back > 150_000  # kilobytes of the 200 MiB: what is asked for goes back all the same
