"""The chat templates of well-known models, as the `trl` package ships them: each is exact, split, or refused with a reason."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from heedlm.errors import HeedError
from heedlm.messages import Example, Message
from heedlm.templates.chat import load_template
from heedlm.templates.settle import settle

from .wires import CALL, MULTI, SINGLE, THINKING, TOOLS, assistant, example, make_tokenizer, system, user

pytestmark = pytest.mark.stock

# What templates write as one token, by the look of it; tags of thinking and tools are added tokens that are not special.
MARK = re.compile(
    r"<\|[^|<>\s'\"]{1,40}\|>|<[|a-z_]+\|>|<\|[a-z_]+>|<｜[^｜]+｜>|<[a-z]+_of_[a-z]+>|\[/?[A-Z_]{2,}\]|<sop>|\[gMASK\]"
)
TAG = re.compile(r"</?(?:think|tool_call|tool_response)>")

CONVERSATIONS = {
    "single": SINGLE,
    "system": example(system("Be brief."), *SINGLE.messages),
    "multi": MULTI,
    "typed": example(user("Say <|im_end|></s><eos>"), assistant("<|im_end|> <")),
    "empty": example(user("Say nothing."), assistant("")),
    "thinking": THINKING,
    "tools": example(
        user("Weather?"),
        assistant("", tool_calls=(CALL,)),
        Message("tool", "sunny", tool_call_id="abcdefghi"),
        assistant("It is sunny."),
        tools=TOOLS,
    ),
}


def stock_templates() -> list[Path]:
    found = importlib.util.find_spec("trl")
    if found is None or not found.submodule_search_locations:
        return []
    return sorted(Path(next(iter(found.submodule_search_locations)), "chat_templates").glob("*.jinja"))


def tokenizer_for(source: str) -> PreTrainedTokenizerFast:
    marks = sorted({*MARK.findall(source), "<bos>"})
    return make_tokenizer(special=tuple(marks), added=tuple(sorted(set(TAG.findall(source)))), bos_token="<bos>")


def outcome(path: Path, row: Example) -> int | str:
    """How many sequences the row becomes, proved; or why it is refused."""
    from heedlm.tokens.encode import encode_example
    from heedlm.tokens.proof import prove

    tokenizer = tokenizer_for(path.read_text(encoding="utf-8"))
    try:
        template = settle(load_template(str(path), tokenizer), tokenizer, [row])
        encoded = encode_example(template, tokenizer, row)
    except HeedError as error:
        (problem,) = error.problems
        assert problem.what
        assert problem.mend
        return problem.what
    proof = prove(template, tokenizer, [row], [encoded])
    assert proof.ok, proof.failures
    assert proof.stop_share == 1.0
    return len(encoded)


@pytest.mark.parametrize("path", stock_templates() or [None], ids=lambda path: path.stem if path else "none")
def test_each_conversation_is_one_sequence_or_split_or_refused_with_a_reason(path):
    if path is None:
        pytest.skip("trl is not installed")
    for name, row in CONVERSATIONS.items():
        found = outcome(path, row)
        answers = sum(message.role == "assistant" for message in row.messages)
        assert isinstance(found, str) or found in (1, answers), name


def test_most_templates_take_a_question_and_an_answer():
    paths = stock_templates()
    if not paths:
        pytest.skip("trl is not installed")
    found = [outcome(path, SINGLE) for path in paths]
    refused = [one for one in found if isinstance(one, str)]
    # Refused: those that always open a think block which answers lack, and those for images, which want content in parts.
    assert len(refused) <= len(paths) / 5, refused
