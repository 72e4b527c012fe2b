"""Python's search for garbage, held back while very many small objects are made.

The search for reference cycles starts anew each time some hundreds of objects more are alive, and now and then it looks
at every object of the process: while rows were encoded and proved, a quarter of the time went there (notes of building;
`benchmarks/data.py` measures the whole). Encoding makes hardly a cycle, so one look at the end of some rows is enough.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_held = 0  # how many now hold the search back, in all threads
_searched = False  # whether it was on before the first of them


@contextmanager
def searched_once() -> Iterator[None]:
    """No search for garbage inside; one among what is new at the end. May stand inside itself, and in several threads."""
    global _held, _searched
    with _LOCK:
        if not _held:
            _searched = gc.isenabled()
            gc.disable()
        _held += 1
    try:
        yield
    finally:
        with _LOCK:
            _held -= 1
            if not _held and _searched:
                gc.enable()
        gc.collect(0)
