"""Rows looked at on Ray, by the steps of `scale_steps` under datatrove's executor.

That executor returns normally when a part failed, when its process was killed, and when there was no input. So what counts
here is not that it returned: each part must lie there whole, and the parts of an input must make up all of its rows.
Parts that are whole stay where a run fails, and the same command goes on with the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from heedlm.data.crew import Looked, unpacked_bytes
from heedlm.data.examine import Examiner
from heedlm.data.parts import Task, joined, part_path
from heedlm.data.sources import STDIN, local_files
from heedlm.errors import HeedError, Problem

PART = 64 << 20  # bytes of text that a part holds at least, where a file is looked at in several
STRIPES = 8  # parts of one file at most: each reads all of it, and looks at its own rows only
MEMORY_GB = 1.0  # asked of Ray for each part
_SHOWN = 5  # parts that failed, told one by one
_LOGS = "logs"
_PATIENCE = 10.0  # seconds


def work_folder(out: Path, fingerprint: Mapping[str, Any]) -> Path:
    """Where the parts for `out` lie until it is written; another fingerprint, another folder."""
    from heedlm import __version__

    told = json.dumps([__version__, fingerprint], sort_keys=True, default=str)
    start = Path(os.path.abspath(out))
    return start.with_name(f".{start.name}.ray-{hashlib.sha256(told.encode()).hexdigest()[:12]}")


def plan(names: Sequence[Path], hows: Sequence[Examiner]) -> list[Task]:
    """The parts of all inputs. Raises HeedError for rows that other machines cannot read."""
    tasks: list[Task] = []
    for number, (name, how) in enumerate(zip(names, hows, strict=True)):
        if name == STDIN:
            mend = "write them into a file that all machines see, and name it: --data FILE"
            raise HeedError("Rows from standard input cannot be read on other machines.", str(name), mend)
        files = [(Path(os.path.abspath(file)), file.stat().st_size) for file in local_files(name)]
        of = min(STRIPES, max(1, sum(map(unpacked_bytes, (file for file, _ in files))) // PART))
        tasks += [Task(number, stripe, of, name, tuple(files), how) for stripe in range(of)]
    return tasks


@contextlib.contextmanager
def on_ray(names: Sequence[Path], hows: Sequence[Examiner], work: Path, say: Callable[[str], None]) -> Iterator[Looked]:
    """What the rows of each input give, looked at on the cluster that RAY_ADDRESS names, or on one started here.

    work: a folder that all machines see; it stays where a part failed or the block was interrupted, and is gone otherwise.
    Raises HeedError where Ray or datatrove is not installed, and for every part that is not whole.
    """
    ray = _libraries()
    tasks = plan(names, hows)
    _sweep(work)
    work.mkdir(parents=True, exist_ok=True)
    from heedlm.data.scale_steps import PLAN

    (work / PLAN).write_bytes(pickle.dumps(tasks))
    waiting = [rank for rank in range(len(tasks)) if not part_path(work, rank).is_file()]
    for rank in waiting:  # a part that is said to be done, and is not there, is made again
        (work / _LOGS / "completions" / f"{rank:05d}").unlink(missing_ok=True)
    if waiting:
        say(f"looking at rows on Ray: {len(waiting):,} of {len(tasks):,} parts to do")
        with _cluster(ray):
            _run(work, len(tasks))
    _require_all(work, tasks)
    parts: list[list[Path]] = [[] for _ in names]
    for rank, task in enumerate(tasks):
        parts[task.number].append(part_path(work, rank))
    try:
        yield lambda number: joined(parts[number], names[number])
    except HeedError:  # the rows are to be mended, and are others then
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _libraries() -> Any:
    """The module ray. Raises HeedError where it or datatrove is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of what runs here
    try:
        import datatrove.executor  # noqa: F401  looked for before anything is read
        import ray
    except ImportError as error:
        what = f"--executor ray needs Ray and datatrove, and one cannot be imported: {error}"
        mend = "pip install 'heedlm[scale]', or leave --executor out: on one machine it gains nothing"
        raise HeedError(what, "--executor", mend) from error
    return ray


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """A connection to Ray for as long as it is needed; one that the caller has is used, and kept."""
    if ray.is_initialized():
        _require_room(ray)
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        _require_answer(address)
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"RAY_ADDRESS={address}" if address else "--executor ray"
        mend = "see that the cluster runs (ray status), or unset RAY_ADDRESS to start one on this machine"
        raise HeedError(f"Ray cannot be reached: {str(error).splitlines()[0]}", where, mend) from error
    try:
        _require_room(ray)
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError where nobody listens: Ray would end this process after a minute, without an exception."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _require_room(ray: Any) -> None:
    """Raise HeedError where no machine can ever take a part: Ray would wait for one without a word."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= 1 and node.get("memory", 0) >= MEMORY_GB * 2**30 for node in nodes):
        what = f"No machine of the cluster has a core and {MEMORY_GB:g} GB to give."
        raise HeedError(what, f"{len(nodes)} machine(s)", "add one, or start Ray with more: ray start --memory BYTES")


def _run(work: Path, tasks: int) -> None:
    """Give all parts to the executor and wait; that it returns says nothing (see `_require_all`)."""
    from datatrove.executor import RayPipelineExecutor
    from loguru import logger

    from heedlm.data.scale_steps import ExamineRows, ReadRows, WritePart

    given = (str(work), os.getcwd())
    logger.disable("datatrove")
    try:
        RayPipelineExecutor(
            pipeline=[ReadRows(*given), ExamineRows(*given), WritePart(*given)],
            tasks=tasks,
            logging_dir=str(work / _LOGS),
            mem_per_cpu_gb=MEMORY_GB,
        ).run()
    finally:
        logger.enable("datatrove")


def _require_all(work: Path, tasks: Sequence[Task]) -> None:
    """Raise HeedError for every part that is not there."""
    missing = [rank for rank in range(len(tasks)) if not part_path(work, rank).is_file()]
    if not missing:
        return
    done = len(tasks) - len(missing)
    mend = f"mend what stands below and run the same command again: {done:,} finished part(s) are kept"
    head = Problem(f"{len(missing):,} of {len(tasks):,} parts failed on Ray.", str(work), mend)
    told = [Problem(_reason(work, rank), f"{tasks[rank].name}, part {rank}") for rank in missing[:_SHOWN]]
    rest = [Problem(f"and {len(missing) - _SHOWN:,} more parts")] if len(missing) > _SHOWN else []
    raise HeedError.of([head, *told, *rest])


def _reason(work: Path, rank: int) -> str:
    """Why a part failed, as the log of its task says."""
    log = work / _LOGS / "logs" / f"task_{rank:05d}.log"
    if not log.is_file():
        return "its process was killed (too little memory?), or its machine does not see the folder above"
    lines = [line.strip() for line in log.read_text("utf8", "replace").splitlines() if line.strip()]
    said = lines[-1] if lines else "its log is empty"
    return said.removeprefix("heedlm.errors.HeedError: ")


def _sweep(work: Path) -> None:
    """Delete the parts of earlier runs with other rows or settings."""
    if work.parent.is_dir():
        start = work.name.rpartition("-")[0]
        for entry in work.parent.glob(f"{start}-*"):
            if entry != work:
                shutil.rmtree(entry, ignore_errors=True)
