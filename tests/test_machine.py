import numpy as np

from heedlm.machine import peak_memory_bytes, return_free_memory


def test_the_peak_is_in_bytes_and_never_falls() -> None:
    before = peak_memory_bytes()
    block = np.ones(30_000_000, dtype=np.int8)
    assert 10_000_000 < before <= peak_memory_bytes() < 10**12
    del block
    return_free_memory()
    assert peak_memory_bytes() >= before
