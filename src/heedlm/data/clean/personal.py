"""Personal data in text: e-mail addresses, phone and card numbers, network addresses, keys; found and masked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_EMAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])")
_PHONE = re.compile(
    r"(?<![\w.$€£/=+*-])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})"
    r"(?![\w/%]|[.,]\d)"
)
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d,-]|\.\d)")
_ISSUED = re.compile(r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6\d{15,18}")
_DIGITS = re.compile(r"\d[\d ().-]{7,}\d")  # cheap to look for, and part of every phone and card number
_IP4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_DOTTED = re.compile(r"\d\.\d{1,3}\.\d")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:){2,7}(?::?[0-9A-Fa-f]{1,4})?(?![\w:])")
_KEY = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{40,}|\bglpat-[\w-]{20,}|\bsk-(?:ant-|proj-)?[\w-]{24,}"
    r"|\bsk_live_[A-Za-z0-9]{20,}|\bxox[abprs]-[A-Za-z0-9-]{16,}|\bAIza[\w-]{35}|\bhf_[A-Za-z0-9]{30,}|\bSG\.[\w-]{20,}\.[\w-]{20,}"
    r"|(?<![\w-])eyJ[\w-]{15,}\.[\w-]{15,}\.[\w-]{15,}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?:[\s\S]{0,4000}?-----END [A-Z ]{0,20}PRIVATE KEY-----)?"
)

_KEY_HINTS = ("AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "sk_live_")
_MORE_HINTS = ("xox", "AIza", "hf_", "SG.", "eyJ", "PRIVATE KEY")


class Kind(NamedTuple):
    """names: in findings, of one and of several.   mask: what is written instead.   find: where in a text, from and to."""

    names: tuple[str, str]
    mask: str
    find: Callable[[str], Iterator[tuple[int, int]]]


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (found.span() for found in _EMAIL.finditer(text))


def _phones(text: str) -> Iterator[tuple[int, int]]:
    if not _DIGITS.search(text):
        return
    for found in _PHONE.finditer(text):
        digits = sum(character.isdigit() for character in found[0])
        if 9 <= digits <= 15:
            yield found.span()


def _cards(text: str) -> Iterator[tuple[int, int]]:
    if not _DIGITS.search(text):
        return
    for found in _CARD.finditer(text):
        digits = found[0].replace(" ", "").replace("-", "")
        if _ISSUED.fullmatch(digits) and luhn(digits):
            yield found.span()


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for pattern, hint in ((_IP4, _DOTTED.search(text)), (_IP6, "::" in text or text.count(":") >= 7)):
        if not hint:
            continue
        for found in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(found[0])
            except ValueError:
                continue
            if address.is_global:  # private, loopback and documentation addresses belong to nobody
                yield found.span()


def _keys(text: str) -> Iterator[tuple[int, int]]:
    if any(hint in text for hint in (*_KEY_HINTS, *_MORE_HINTS)):
        yield from (found.span() for found in _KEY.finditer(text))


KINDS: dict[str, Kind] = {
    "email": Kind(("e-mail address", "e-mail addresses"), "[EMAIL]", _emails),
    "phone": Kind(("phone number", "phone numbers"), "[PHONE]", _phones),
    "card": Kind(("card number", "card numbers"), "[CARD]", _cards),
    "ip": Kind(("network address", "network addresses"), "[IP]", _addresses),
    "key": Kind(("key or token", "keys or tokens"), "[KEY]", _keys),
}


def count(kind: str, text: str) -> int:
    """How many of a kind a text holds."""
    return sum(1 for _ in KINDS[kind].find(text))


def mask(kind: str, text: str) -> str:
    """The text with each one replaced by a word in brackets."""
    pieces, last = [], 0
    for start, end in KINDS[kind].find(text):
        if start >= last:
            pieces += [text[last:start], KINDS[kind].mask]
            last = end
    return "".join([*pieces, text[last:]])
