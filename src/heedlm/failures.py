"""How several processes tell one person that a run failed: once."""

from __future__ import annotations

import os
from datetime import timedelta

from heedlm.launch import launched

STORE_PATIENCE = timedelta(seconds=5)


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
