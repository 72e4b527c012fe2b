"""Equal conversations have equal keys, others have not."""

from __future__ import annotations

from heedlm.data.duplicates import duplicate_key
from heedlm.messages import Example, Message, ToolCall


def pair(asked: str, answered: str, **more) -> Example:
    return Example("id", (Message("user", asked), Message("assistant", answered)), "x:1", **more)


def test_white_space_ids_groups_and_meta_do_not_count():
    one = pair("What is it?", "A cat.")
    assert duplicate_key(one) == duplicate_key(pair(" What  is\nit? ", "A cat.\n", group="g", meta={"n": 1}))
    assert duplicate_key(pair("Caf\u00e9?", "x")) == duplicate_key(pair("Cafe\u0301?", "x"))


def test_case_roles_boundaries_tools_and_calls_do():
    base = pair("What is it?", "A cat.")
    others = [
        pair("What is it?", "A CAT."),
        pair("What is it? A", "cat."),
        Example("id", (Message("user", "What is it?"), Message("assistant", "A cat.", reasoning="Purrs.")), "x:1"),
        Example(
            "id",
            (Message("user", "What is it?"), Message("assistant", "A cat.", tool_calls=(ToolCall("f", {}),))),
            "x:1",
        ),
        Example("id", (Message("system", "What is it?"), Message("assistant", "A cat.")), "x:1"),
        Example("id", (Message("user", "What is it?"), Message("assistant", "A cat.", weight=0.5)), "x:1"),
        pair("What is it?", "A cat.", tools=({"name": "f"},)),
        pair("What is it?", "A cat.", template_kwargs={"enable_thinking": False}),
    ]
    assert len({duplicate_key(example) for example in [base, *others]}) == 1 + len(others)
