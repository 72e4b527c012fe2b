"""Each rule finds its own, does what it was told, and looks only where it should."""

from __future__ import annotations

import pytest

from heedlm.config import CleanConfig
from heedlm.data.clean.rules import RULES, Limits, clean, words_of
from heedlm.messages import Example, Message, ToolCall

LIMITS = Limits(max_words=50, min_words=0)


def found(*messages: Message, limits: Limits = LIMITS, **actions: str) -> list[str]:
    example = Example("id", messages, "x:1")
    wanted = actions or dict.fromkeys(RULES, "flag")
    return [finding.rule for finding in clean(example, words_of(example), wanted, limits).findings]


def pair(asked: str, answered: str) -> tuple[Message, Message]:
    return Message("user", asked), Message("assistant", answered)


def test_every_rule_has_a_switch_and_every_switch_a_rule():
    assert {name for name in CleanConfig.model_fields if name not in ("max_words", "min_words")} == set(RULES)


def test_a_good_row_has_no_finding():
    assert found(*pair("What is the capital of Chad?", "The capital of Chad is N'Djamena.")) == []


def test_off_does_not_look_and_each_rule_speaks_once():
    row = pair("Who?", "ada@example.org, bob@example.org <|im_end|> <|im_start|>")
    assert found(*row) == ["control", "email"]
    assert found(*row, email="off", control="flag") == ["control"]
    assert found(*row, echo="flag") == []


def test_findings_hold_no_personal_data():
    example = Example("id", pair("Who?", "ada@example.org and 8.8.8.8"), "x:1")
    cleaned = clean(example, words_of(example), dict.fromkeys(RULES, "flag"), LIMITS)
    assert [what for _, what in cleaned.findings] == ["1 e-mail address", "1 network address"]


def test_only_answers_that_are_taught_are_judged_but_all_text_is_for_damage():
    given = Message("assistant", "As an AI language model, I see a caf\u00c3\u00a9.", weight=0.0)
    row = (Message("user", "Hm?"), given, *pair("And?", "Yes."))
    assert found(*row) == ["encoding"]
    assert found(Message("system", "Mail ada@example.org"), *pair("Who?", "She.")) == ["email"]


def test_masking_reaches_every_text_of_a_row():
    row = (
        Message("system", "Boss: ada@example.org"),
        Message("user", "Mail bob@example.org"),
        Message(
            "assistant",
            "",
            reasoning="To bob@example.org.",
            tool_calls=(
                ToolCall("mail", {"to": ["bob@example.org"], "n": 1, "more": {"cc": "ada@example.org"}}, "c1"),
            ),
        ),
        Message("tool", "sent to bob@example.org", tool_call_id="c1"),
        Message("assistant", "Done: bob@example.org"),
    )
    example = Example("id", row, "x:1")
    cleaned = clean(example, words_of(example), {"email": "mask"}, LIMITS)
    assert "example.org" not in repr(cleaned.example)
    assert repr(cleaned.example).count("[EMAIL]") == 7
    assert cleaned.example.messages[2].tool_calls[0].arguments["n"] == 1
    assert cleaned.findings[0].what == "7 e-mail addresses"


def test_nothing_to_mask_leaves_the_example_as_it_is():
    example = Example("id", pair("Who?", "She."), "x:1")
    assert clean(example, words_of(example), {"email": "mask"}, LIMITS).example is example


@pytest.mark.parametrize(
    ("asked", "answered", "expected"),
    [
        ("What is the name of the river that is here?", "Das ist der Fluss, und er heißt wie die Stadt.", ["language"]),
        ("What is the name of the river in German?", "Das ist der Fluss, und er heißt wie die Stadt.", []),
        ("Please translate this: it is the river of the town.", "Das ist der Fluss, und er ist bei der Stadt.", []),
        ("What is the name of the river that is here?", "Main.", []),
        ("What is the name of the river that is here?", "यह शहर की नदी है और इसका नाम यमुना है", ["language"]),
        ("What is the name of the river that is here?", "It is the river of the town.", []),
    ],
)
def test_another_language(asked, answered, expected):
    assert found(*pair(asked, answered)) == expected


def test_length_counts_all_turns_and_no_calls():
    assert found(*pair("word " * 25, "word " * 25 + "x"), length="flag") == ["length"]
    assert found(*pair("word " * 25, "word " * 25), length="flag") == []
    call = Message("assistant", "", tool_calls=(ToolCall("f", {}),))
    row = (Message("user", "Go."), call, Message("tool", "ok"), Message("assistant", "It is done."))
    assert found(*row, limits=Limits(50, 3), length="flag") == []
    assert found(*row, limits=Limits(50, 4), length="flag") == ["length"]


def test_an_answer_that_only_calls_a_tool_is_not_empty():
    call = Message("assistant", " ", tool_calls=(ToolCall("f", {"q": "n/a"}),))
    assert found(Message("user", "Go."), call, Message("tool", "ok"), Message("assistant", "Done.")) == []
