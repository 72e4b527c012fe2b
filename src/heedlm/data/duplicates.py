"""Exact duplicates: conversations equal up to white space and the way accents are written."""

from __future__ import annotations

import hashlib
import json
import unicodedata

from heedlm.messages import Example


def duplicate_key(example: Example) -> int:
    """64 bits that are equal for equal conversations.

    White space is collapsed and Unicode composed; case stays, since "answer in capitals" is a task. Weights count: the
    same conversation may stand once for each turn that it teaches. Ids, groups and meta do not.
    """
    turns = [
        [
            message.role,
            squeeze(message.content),
            squeeze(message.reasoning or ""),
            [[call.name, call.arguments] for call in message.tool_calls],
            message.weight,
        ]
        for message in example.messages
    ]
    seen = json.dumps([turns, example.tools, example.template_kwargs], sort_keys=True)
    return int.from_bytes(hashlib.blake2b(seen.encode(), digest_size=8).digest(), "big")


def squeeze(text: str) -> str:
    """`text` with runs of white space as one space and its characters composed (NFC)."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
