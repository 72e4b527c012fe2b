from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from heedlm.tokens.garbage import searched_once


class Knot:
    """An object that holds itself: only the search for cycles frees it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.isenabled()
    yield
    gc.enable() if before else gc.disable()


def test_nothing_is_searched_inside_and_cycles_go_at_the_end() -> None:
    gc.enable()
    with searched_once():
        assert not gc.isenabled()
        knot = weakref.ref(Knot())
        kept = [[number] for number in range(5000)]  # enough new objects for a search to begin
        assert knot() is not None
    assert gc.isenabled()
    assert knot() is None
    assert len(kept) == 5000


def test_one_inside_the_other_ends_with_the_outer_one() -> None:
    gc.enable()
    with searched_once():
        with searched_once():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_had_turned_it_off_finds_it_off() -> None:
    gc.disable()
    with searched_once():
        pass
    assert not gc.isenabled()


def test_an_error_inside_lets_it_go_on() -> None:
    gc.enable()
    with pytest.raises(ValueError, match="no"), searched_once():
        raise ValueError("no")
    assert gc.isenabled()


def test_the_last_of_several_threads_turns_it_on_again() -> None:
    gc.enable()
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with searched_once():
            inside.set()
            go_on.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(60)
    with searched_once():
        pass
    assert not gc.isenabled()
    go_on.set()
    thread.join(60)
    assert gc.isenabled()
