"""Tool calls: the format is found by rendering, and what a model writes is read back or left as it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from heedlm.generate.calls import CallFormat, before_calls, call_format, read_calls
from heedlm.messages import Message, ToolCall
from heedlm.templates.chat import load_template, render
from heedlm.templates.render import ChatTemplate

HERMES = """{% if tools %}<|im_start|>system
{{ tools | tojson }}<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
BARE = HERMES.replace("\n<tool_call>\n", "").replace("\n</tool_call>", "").replace('"arguments"', '"parameters"')
LISTED = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.tool_calls %}[CALLS] [{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}{% if not loop.last %}, {% endif %}{% endfor %}]{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WRAPPED = HERMES.replace(
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}',
    '{"id": "1", "type": "function", "function": {"name": "{{ c.function.name }}", '
    '"arguments": "{{ c.function.arguments | tojson | replace(\'"\', \'\\\\"\') }}"}}',
)
XML = HERMES.replace(
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}',
    "<function={{ c.function.name }}></function>",
)
FORMATS = {
    "hermes": (HERMES, CallFormat("<tool_call>", "</tool_call>", "name", "arguments")),
    "bare": (BARE, CallFormat("", "", "name", "parameters")),
    "listed": (LISTED, CallFormat("[CALLS]", "", "name", "arguments")),
    "xml": (XML, None),
}
CALLS = (ToolCall("weather", {"city": "Delhi", "days": 2}), ToolCall("clock", {}))


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_found_in_the_template(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    source, form = FORMATS[name]
    assert call_format(ChatTemplate(name, source), tokenizer) == form


def test_a_wrapped_call_with_its_arguments_as_text(tokenizer: PreTrainedTokenizerBase) -> None:
    form = call_format(ChatTemplate("wrapped", WRAPPED), tokenizer)
    assert form == CallFormat("<tool_call>", "</tool_call>", "name", "arguments", wrapped=True)
    text = '<tool_call>\n{"function": {"name": "a", "arguments": "{\\"x\\": 1}"}}\n</tool_call>'
    assert read_calls(text, form, frozenset()).calls == (ToolCall("a", {"x": 1}),)


def test_a_template_without_calls_has_no_format(tokenizer: PreTrainedTokenizerBase) -> None:
    assert call_format(load_template("human_assistant", tokenizer), tokenizer) is None


@pytest.mark.parametrize("name", ["hermes", "listed"])
def test_what_a_template_writes_is_read_back(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    source, form = FORMATS[name]
    assert form is not None
    template = ChatTemplate(name, source)
    asked = [Message("user", "Weather?")]
    told = [*asked, Message("assistant", "", tool_calls=CALLS)]
    prompt = render(template, tokenizer, asked, add_generation_prompt=True)
    answer = render(template, tokenizer, told, add_generation_prompt=False)[len(prompt) :].removesuffix("<|im_end|>\n")
    assert read_calls(answer, form, frozenset()) == ("", CALLS)
    assert read_calls("Let me see.\n" + answer, form, frozenset()) == ("Let me see.", CALLS)
    for end in range(len(answer)):
        assert before_calls("Let me see." + answer[:end], form) == "Let me see.", "nothing of a call is ever shown"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no call",
        "<tool_call>",
        "<tool_call>\n{",
        '<tool_call>\n{"name": "a"',
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "a", "arguments": []}</tool_call>',
        "<tool_call>[]</tool_call>",
        "<tool_call>null</tool_call>",
        "<tool_call>" + "[" * 100_000,
    ],
)
def test_what_is_no_whole_call_stays_text(text: str) -> None:
    form = FORMATS["hermes"][1]
    assert form is not None
    assert read_calls(text, form, frozenset({"a"})) == (text, ())


def test_json_without_marks_is_a_call_only_of_a_tool_that_was_offered() -> None:
    form = FORMATS["bare"][1]
    assert form is not None
    text = '{"name": "weather", "parameters": {"city": "Delhi"}}'
    assert read_calls(text, form, frozenset({"weather"})).calls == (ToolCall("weather", {"city": "Delhi"}),)
    assert read_calls(text, form, frozenset({"clock"})) == (text, ())
    assert before_calls(text, form) == ""
    assert before_calls("Delhi is hot.", form) == "Delhi is hot."


@given(st.text(max_size=60), st.text(alphabet='<tool_call>{}[]":, abn/', max_size=80))
def test_no_text_is_lost_and_nothing_breaks(before: str, after: str) -> None:
    form = FORMATS["hermes"][1]
    assert form is not None
    found = read_calls(before + after, form, frozenset())
    if not found.calls:
        assert found.text == before + after
    assert json.dumps([dict(call.arguments) for call in found.calls])
