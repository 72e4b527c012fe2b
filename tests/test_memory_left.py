"""What is left for this process, whoever limits it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heedlm.memory_left import available_memory_bytes, device_memory_bytes, total_memory_bytes


def machine(root: Path, free_kb: int, groups: str = "") -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal:       99999 kB\nMemAvailable:   {free_kb} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    return root


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_what_the_system_could_free(tmp_path: Path) -> None:
    assert available_memory_bytes(machine(tmp_path, 5000)) == 5000 * 1024


@pytest.mark.parametrize("where", ["app", "app/worker", ""])
def test_a_group_of_version_2_limits_at_any_height(tmp_path: Path, where: str) -> None:
    root = machine(tmp_path, 5000, "0::/app/worker\n")
    group(root / "sys/fs/cgroup" / where, memory__max=4_000_000, memory__current=1_000_000)
    group(root / "sys/fs/cgroup" / where, memory__stat="anon 900000\ninactive_file 100000")
    assert available_memory_bytes(root) == 3_100_000


def test_a_group_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    root = machine(tmp_path, 5000, "0::/app\n")
    group(root / "sys/fs/cgroup/app", memory__max="max", memory__current=1_000_000)
    assert available_memory_bytes(root) == 5000 * 1024


def test_a_group_of_version_1_limits_as_well(tmp_path: Path) -> None:
    root = machine(tmp_path, 5000, "5:cpu:/other\n4:memory:/box/one\n0::/\n")
    folder = root / "sys/fs/cgroup/memory/box/one"
    group(folder, memory__limit_in_bytes=2_000_000, memory__usage_in_bytes=500_000)
    group(root / "sys/fs/cgroup/memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=1)
    assert available_memory_bytes(root) == 1_500_000
    (folder / "memory.usage_in_bytes").write_text("3000000\n")
    assert available_memory_bytes(root) == 0


def test_where_the_system_does_not_tell_all_that_is_built_in_counts(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path) == total_memory_bytes()


def test_this_machine_has_some_and_its_cpu_shares_it() -> None:
    assert 0 < available_memory_bytes() <= total_memory_bytes()
    assert device_memory_bytes(torch.device("cpu")) == pytest.approx(available_memory_bytes(), rel=0.2)
