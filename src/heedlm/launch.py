"""Which of several processes this is, as a launcher such as torchrun says it in the environment."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import NamedTuple

STORE_PATIENCE = timedelta(seconds=5)


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


def program() -> str:
    """What a person typed in front of the verb. Without `--` torchrun takes our `--run` for one of its own options."""
    launch = launched()
    if launch.size == 1:
        return "heed"
    nodes = launch.size // launch.local_size
    more = f" --nnodes {nodes} ... " if nodes > 1 else " "  # the rest differs between machines
    return f"torchrun{more}--nproc-per-node {launch.local_size} -m heedlm --"


def may_speak() -> bool:
    """Whether this process tells how the run failed: the first to ask does, so that a failure is told once.

    The word is left in the launcher's key-value store, which outlives the processes.
    """
    launch = launched()
    if launch.size == 1:
        return True
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, timeout=STORE_PATIENCE, wait_for_workers=False)
        told = store.compare_set(f"heed/told/{attempt}", "", str(launch.rank))
    except (RuntimeError, ValueError):  # no store, or no longer: better said twice than not at all
        return True
    return bool(told.decode() == str(launch.rank))


def lost_another(error: Exception) -> bool:
    """Whether an error says no more than that another process no longer answers."""
    text = str(error)
    kinds = ("DistBackendError", "DistNetworkError", "DistStoreError")
    signs = ("Connection closed", "Connection reset", "Connection refused", "Broken pipe", "[gloo", "gloo/transport")
    return type(error).__name__ in kinds or (isinstance(error, RuntimeError) and any(sign in text for sign in signs))
