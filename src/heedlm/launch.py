"""Which of several processes this is, as a launcher such as torchrun says it in the environment."""

from __future__ import annotations

import os
from typing import NamedTuple


class Launch(NamedTuple):
    """rank: number of this process.   size: how many there are.   local, local_size: the same on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0


class Elsewhere(Exception):
    """Another process of this run has failed, and says why; this one ends in silence."""


def launched() -> Launch:
    """One process, unless a launcher left the four variables by which several find each other."""
    try:
        rank, size, _, _ = (os.environ[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    except KeyError:
        return Launch()
    local, local_size = os.environ.get("LOCAL_RANK", rank), os.environ.get("LOCAL_WORLD_SIZE", size)
    return Launch(int(rank), int(size), int(local), int(local_size))
