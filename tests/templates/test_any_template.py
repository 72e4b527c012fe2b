"""Whatever the template and the conversation: the rows are proved, or refused in words; nothing in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError, Problem
from heedlm.messages import Example, Message, ToolCall
from heedlm.templates.chat import ChatTemplate, load_template
from heedlm.templates.settle import settle
from heedlm.tokens.encode import encode_example
from heedlm.tokens.proof import prove

from . import wires
from .wires import make_tokenizer

TOKENIZER = make_tokenizer(
    special=("<s>", "<|user|>", "<|assistant|>", "<|system|>", "[INST]"), added=("<think>", "</think>"), bos_token="<s>"
)
SOURCES = {
    name: source
    for name, source in vars(wires).items()
    if name.isupper() and isinstance(source, str) and name not in ("MARKS", "PROMPT")
}
PIECES = [
    "<think>",
    "</think>",
    "<|im_end|>\n",
    "<s>",
    "[INST]",
    "<",
    "<|",
    "i",
    "user",
    "Rome.",
    " ",
    "\n",
    "\r\n",
    "é",
]
TEXTS = st.one_of(st.text(max_size=8), st.lists(st.sampled_from(PIECES), max_size=4).map("".join))
ARGUMENTS = st.dictionaries(st.text(max_size=3), TEXTS, max_size=2)
CALLS = st.builds(ToolCall, st.just("weather"), ARGUMENTS, st.just("abcdefghi"))
MESSAGES = st.one_of(
    st.builds(Message, st.just("system"), TEXTS),
    st.builds(Message, st.just("user"), TEXTS),
    st.builds(
        Message,
        st.just("assistant"),
        TEXTS,
        reasoning=st.one_of(st.none(), TEXTS),
        tool_calls=st.one_of(st.just(()), CALLS.map(lambda call: (call,))),
        weight=st.sampled_from([None, None, 0.0, 0.5]),
    ),
    st.builds(Message, st.just("tool"), TEXTS, tool_call_id=st.just("abcdefghi")),
)
PLAIN_TURNS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3).map(
    lambda pairs: [
        Message(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
)


def templates() -> list[ChatTemplate]:
    found = [load_template(name, TOKENIZER) for name in ("chatml", "human_assistant", "alpaca", "base")]
    for name, source in SOURCES.items():
        TOKENIZER.chat_template = source
        try:
            found.append(replace(load_template(None, TOKENIZER), name=name))
        except HeedError:
            continue
        finally:
            TOKENIZER.chat_template = None
    return found


TEMPLATES = templates()


def test_most_of_the_imitations_load():
    refused = set(SOURCES) - {template.name for template in TEMPLATES}
    assert refused == {"COMPUTED_DATE", "DOUBLE_BOS", "CHANGES_TEXT"}


@pytest.mark.parametrize("template", TEMPLATES, ids=[template.name for template in TEMPLATES])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=st.one_of(PLAIN_TURNS, st.lists(MESSAGES, min_size=1, max_size=6)), learn_reasoning=st.booleans())
def test_what_is_encoded_is_proved(template, messages, learn_reasoning):
    example = Example("row-1", tuple(messages), "rows.jsonl:1")
    settled = settle(template, TOKENIZER, [example])
    refused: list[Problem] = []
    try:
        encoded = encode_example(settled, TOKENIZER, example, learn_reasoning=learn_reasoning)
    except HeedError as error:
        refused = list(error.problems)
    assert all(problem.what and problem.where.startswith("rows.jsonl:1") for problem in refused)
    if refused:
        return
    proof = prove(settled, TOKENIZER, [example], [encoded], learn_reasoning=learn_reasoning)
    # What encoding leaves to the proof, and only these templates do: texts that are dropped, BOS tokens all over.
    left = {"DROPS_SYSTEM": "does not render a", "BOS_PER_TURN": "BOS token"}.get(template.name)
    assert all(left is not None and left in problem.what for problem in proof.failures), proof.failures
