"""What all tests share: one thread (two collapse when the machine is busy), no deadlines, no network."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.typed import Heed, typed

settings.register_profile("heed", deadline=None, derandomize=True)
settings.load_profile("heed")


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
