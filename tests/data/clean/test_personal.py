"""Personal data is found by its form, masked without a trace, and numbers of other kinds are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.clean.personal import KINDS, count, luhn, mask


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "ada@example.org"),
        ("email", "Write to <first.last+tag@mail.example.co.uk>, please."),
        ("phone", "+44 20 7946 0958"),
        ("phone", "+4915112345678"),
        ("phone", "(212) 555-0187"),
        ("phone", "call 212-555-0187."),
        ("phone", "+91 98765 43210"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5555-5555-5555-4444"),
        ("card", "378282246310005"),
        ("ip", "8.8.8.8"),
        ("ip", "http://93.184.216.34/x"),
        ("ip", "2606:2800:220:1:248:1893:25c8:1946"),
        ("ip", "2001:4860:4860::8888"),
        ("key", "AKIAABCDEFGHIJKLMNOP"),
        ("key", "sk-proj-abcdefghijklmnopqrstuvwx"),
        ("key", "ghp_" + "a" * 36),
        ("key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"),
    ],
)
def test_found_and_masked(kind, text):
    assert count(kind, text) == 1
    masked = mask(kind, f"before {text} behind")
    assert KINDS[kind].mask in masked
    assert masked.startswith("before ")
    assert masked.endswith(" behind")
    assert count(kind, masked) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@b",
        "@name and name@",
        "3.14159265358979",
        "1234567890123456",
        "It costs $1,234,567.89 in 2024-05-01.",
        "x = 12 + 34 + 56 + 78",
        "(12) 34",
        "version 1.2.3",
        "192.168.0.1 and 127.0.0.1",
        "999.1.1.1",
        "12:30:45",
        "std::vector<int>",
        "4111 1111 1111 1112",
        "ISBN 978-3-16-148410-0",
        "the task-sk-ill",
        "10 000 000 000",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16",
    ],
)
def test_what_is_nobodys(text):
    assert [kind for kind in KINDS if count(kind, text)] == []


@given(st.integers(0, 10**15))
def test_one_check_digit_of_ten_is_right(number):
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


@given(st.text(), st.sampled_from(sorted(KINDS)))
def test_masking_any_text_leaves_none(text, kind):
    masked = mask(kind, f"{text} ada@example.org 8.8.8.8")
    assert count(kind, masked) == 0
    assert mask(kind, masked) == masked


@pytest.mark.parametrize("piece", ["eyJ-", "sk-", "1-", "a.", "::", "+1 ", "-----BEGIN PRIVATE KEY-----", "@", "1.1."])
def test_long_odd_text_takes_no_time(piece):
    for kind in KINDS:
        count(kind, piece * 50_000)
