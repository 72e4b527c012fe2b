"""Damaged text: letters that a wrong encoding turned into others, unprintable characters, marks of some wire format."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufeff\ufffe\uffff]")
# The bytes 0x80 to 0xbf as Windows reads them: what follows the first byte of a UTF-8 character.
_TAILS = "\u0080-\u00bf" + "".join(bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0))
_MOJIBAKE = re.compile(rf"[\u00c2-\u00f4][{_TAILS}]{{1,3}}")
_TOKENS = re.compile(
    r"<\|[A-Za-z0-9_ ]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|<\|?im_(?:start|end)\|?>|<\|?endoftext\|?>"
)
_TURNS = re.compile(
    r"^(?:#{2,3} ?(?:Instruction|Response|Input|Human|Assistant):|(?:Human|Assistant|USER|ASSISTANT): )", re.M
)


def encoding(text: str) -> str | None:
    """A character that no writer types: NUL, a replacement character, or two letters where UTF-8 had one."""
    found = _CONTROL.search(text)
    if found:
        names = {"\ufffd": "a replacement character", "\x00": "a NUL", "\ufeff": "a byte order mark"}
        what = names.get(found[0], f"the control character U+{ord(found[0]):04X}")
        return f"{what} at character {found.start() + 1}"
    if text.isascii():
        return None
    others = 0
    for piece in _MOJIBAKE.finditer(text):
        meant = _meant(piece[0])
        others += meant is not None
        # One accent or quotation mark is enough; of other scripts three, since two capitals may meet by chance.
        if meant is not None and (ord(meant) < 0x180 or 0x2000 <= ord(meant) < 0x2070 or others == 3):
            return f"{piece[0]!r} at character {piece.start() + 1}, which was meant to be {meant!r}"
    return None


def _meant(piece: str) -> str | None:
    """The one character whose UTF-8 bytes, read as Windows-1252, begin `piece`."""
    data = bytearray()
    for letter in piece:
        try:
            data += letter.encode("cp1252")
        except UnicodeEncodeError:
            if ord(letter) > 0xFF:
                return None
            data.append(ord(letter))  # five codes that Windows-1252 leaves free
    for size in range(2, len(data) + 1):
        try:
            return data[:size].decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None


def control(text: str, *, answer: bool) -> str | None:
    """A control token written out in the text, or, in an answer, the mark of another turn."""
    if "<" in text or "[" in text:
        found = _TOKENS.search(text)
        if found:
            return f"{found[0]!r} at character {found.start() + 1}"
    if answer and ":" in text:
        found = _TURNS.search(text)
        if found:
            return f"a line opens with {found[0].strip()!r}: another turn inside the answer"
    return None
