"""What all tests share: one thread (two collapse when the machine is busy), no deadlines, no network."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.typed import Heed, typed

# Here other programs, sockets, threads or the machine's memory take part, and who comes first is up to the machine. Such a
# test that fails runs once more; the summary counts it as a rerun, and a rerun is a fault to be found all the same.
OUTSIDE = (
    "benchmarks",
    "browser",
    "eval/judge/test_kill.py",
    "eval/test_endpoint.py",
    "eval/test_html.py",
    "exports/test_llama_server.py",
    "exports/test_ollama.py",
    "generate/test_live.py",
    "generate/test_remote.py",
    "integration",
    "serve",
    "synth",
    "test_cli_prompt_optimize.py",
    "test_cli_serve.py",
    "test_machine.py",
    "tokens/test_journal.py",
    "train/test_heap.py",
    "train/test_memory.py",
)
HERE = Path(__file__).parent

settings.register_profile("heed", deadline=None, derandomize=True)
settings.load_profile("heed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).as_posix().startswith(OUTSIDE):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session", autouse=True)
def _hears_interrupts() -> None:
    """A shell lets what it starts in the background ignore SIGINT, and processes of tests would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def heed(capsys: pytest.CaptureFixture[str]) -> Heed:
    """The command line: `heed("eval", run)` gives its exit code, standard output and standard error."""
    return typed(capsys)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
