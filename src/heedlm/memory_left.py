"""How much memory a device has left for this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GIB = 2**30


def available_memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process may still take: what the system could free, or the limit of its control group if lower.

    Where the system does not tell (macOS), all that is built in. root: where /proc and /sys are.
    """
    free = _field(root / "proc/meminfo", "MemAvailable:")
    amounts = [total_memory_bytes() if free is None else free * 1024, *_left_in_groups(root)]
    return max(0, min(amounts))


def device_memory_bytes(device: torch.device) -> int:
    """Memory that a device has left for this process: a GPU's own, else the machine's, which Apple's GPUs share."""
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available_memory_bytes()


def total_memory_bytes() -> int:
    """Memory that is built in."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_in_groups(root: Path) -> list[int]:
    """What each control group above this process leaves it (both versions, see cgroups(7)). Cached files count as free."""
    left = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, limit, usage, cached = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit, usage, cached = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # Seen from inside a container the path may begin at another place: groups that are not there have no limit.
        steps = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(steps) + 1):
            group = top.joinpath(*steps[:depth])
            most, used = (next(iter(_lines(group / name)), "") for name in (limit, usage))
            if most.isdigit() and used.isdigit():
                left.append(int(most) - int(used) + (_field(group / "memory.stat", cached) or 0))
    return left


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf8").splitlines()
    except OSError:
        return []


def _field(path: Path, name: str) -> int | None:
    """The number behind `name` in a file of one name and one number per line."""
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [name]), None)
