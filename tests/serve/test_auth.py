"""Keys that may be used, hosts that may be listened on, and how much in a minute."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.serve.auth import Keys, check_host, is_local_name, is_loopback, read_keys
from heedlm.serve.limits import Allowance

KEY = "a" * 20


def test_keys_come_from_a_list_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for the team\n\n{KEY}\n{'b' * 16}\n")
    assert read_keys(f"{KEY}, {'c' * 16}", file) == (KEY, "c" * 16, "b" * 16)
    assert read_keys("", None) == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "with a blank in it\n", "ä" * 20 + "\n"])
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(HeedError) as told:
        read_keys("", file)
    assert text.strip() == "" or text.strip() not in str(told.value), "a key is never shown"
    with pytest.raises(HeedError, match="cannot be read"):
        read_keys("", tmp_path / "nowhere")


def test_another_host_needs_a_key() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.1"):
        assert is_loopback(host)
        check_host(host, ())
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        check_host(host, (KEY,))
        with pytest.raises(HeedError, match="no key is set"):
            check_host(host, ())


@given(st.text(max_size=40))
def test_only_whole_keys_open(text: str) -> None:
    keys = Keys([KEY])
    assert keys.client(f"Bearer {KEY}") is not None
    assert keys.client(f"bearer  {KEY} ") is not None
    assert keys.client(text) is None
    assert text == KEY or keys.client(f"Bearer {text}") is None
    assert KEY not in (keys.client(f"Bearer {KEY}") or "")


def test_names_of_this_machine() -> None:
    for host in ("localhost", "localhost:1", "127.0.0.1:8000", "[::1]", "[::1]:8000"):
        assert is_local_name(host), host
    for host in ("", ":", "example.org", "localhost.example.org", "127.0.0.1.example.org:80", "[::2]:80", "0.0.0.0"):
        assert not is_local_name(host), host


def test_an_allowance_is_refilled_evenly() -> None:
    now = [0.0]
    allowance = Allowance(60, lambda: now[0])
    for _ in range(60):
        assert allowance.wait("a") == 0.0
        allowance.use("a")
    assert allowance.wait("a") == pytest.approx(1.0)
    assert allowance.wait("b") == 0.0
    now[0] = 1.0
    assert allowance.wait("a") == 0.0
    allowance.use("a", 121)
    assert allowance.wait("a") == pytest.approx(121.0), "who is in debt waits until it is paid"
    now[0] = 10_000.0
    for _ in range(60):
        allowance.use("a")
    assert allowance.wait("a") > 0, "what was not used does not pile up"
    assert Allowance(None).wait("a") == 0.0
