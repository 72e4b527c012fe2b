"""Items for scorers, as a suite makes them."""

from __future__ import annotations

from heedlm.messages import Example, Message


def item(target: str = "", prompt: str = "?", **meta: object) -> Example:
    """One item with one turn and its answer."""
    return Example("i1", (Message("user", prompt), Message("assistant", target)), "items.jsonl:1", meta=meta)
