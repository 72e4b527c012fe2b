"""Chat templates: loading, rendering, stop ids, grades, dates, defaults, fingerprints."""

from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Message
from heedlm.templates.chat import (
    BUILT_IN,
    ChatTemplate,
    fingerprint,
    load_template,
    render,
    stop_ids,
    with_defaults,
)
from heedlm.templates.probe import habits
from heedlm.templates.system import default_system

from . import wires
from .wires import assistant, make_tokenizer, system, user


def load(tmp_path: Path, source: str, tokenizer=None):
    path = tmp_path / "wire.jinja"
    path.write_text(source, encoding="utf-8")
    return load_template(str(path), tokenizer or make_tokenizer())


WIRES = {
    "chatml": "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "U<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "human_assistant": "S\n\nHuman: U\n\nAssistant:",
    "alpaca": "S\n\n### Instruction:\nU\n\n### Response:\n",
    "dolly": "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Context:\nS\n\n### Instruction:\nU\n\n### Response:\n",
    "base": "S\n\nU",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_format_renders_as_it_is_written_down(name):
    tokenizer = make_tokenizer()
    template = load_template(name, tokenizer)
    assert render(template, tokenizer, [system("S"), user("U")], add_generation_prompt=True) == WIRES[name]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_history_with_its_answer_continues_what_a_server_sends(name):
    tokenizer = make_tokenizer()
    template = load_template(name, tokenizer)
    messages = [system("S"), user("a"), assistant("b"), user("c"), assistant("d")]
    whole = render(template, tokenizer, messages, add_generation_prompt=False)
    for end in (2, 4):
        sent = render(template, tokenizer, messages[:end], add_generation_prompt=True)
        answered = render(template, tokenizer, messages[: end + 1], add_generation_prompt=False)
        assert answered.startswith(sent)
        assert whole.startswith(answered)


def test_chatml_with_its_tokens_is_hard_and_the_others_are_soft():
    tokenizer = make_tokenizer()
    grades = {name: load_template(name, tokenizer).grade for name in BUILT_IN}
    assert grades.pop("chatml") == "hard"
    assert set(grades.values()) == {"soft"}


def test_llama3_is_hard_where_its_tokens_are_known():
    tokenizer = make_tokenizer(special=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"))
    template = load_template("llama3", tokenizer)
    assert template.grade == "hard"
    assert tokenizer.convert_ids_to_tokens(list(stop_ids(template, tokenizer))) == ["<|eot_id|>", "<|endoftext|>"]


def test_a_format_whose_mark_is_no_token_ends_answers_with_eos_and_says_so():
    tokenizer = make_tokenizer()
    template = load_template("llama3", tokenizer)
    text = render(template, tokenizer, [user("U"), assistant("A")], add_generation_prompt=False)
    assert text.endswith("A<|endoftext|>")
    assert "<|eot_id|>" in template.note
    assert stop_ids(template, tokenizer) == (tokenizer.eos_token_id,)


def test_soft_formats_bring_the_text_that_opens_the_next_turn_as_a_stop_string():
    tokenizer = make_tokenizer()
    assert load_template("human_assistant", tokenizer).stop_strings == ("\n\nHuman:",)
    assert load_template("alpaca", tokenizer).stop_strings == ("\n\n### Instruction:",)
    assert load_template("dolly", tokenizer).stop_strings == ("\n\n### Instruction:",)
    assert load_template("base", tokenizer).stop_strings == ()
    assert load_template("chatml", tokenizer).stop_strings == ()


def test_the_blank_after_assistant_belongs_to_the_answer():
    tokenizer = make_tokenizer()
    leads = {name: habits(load_template(name, tokenizer), tokenizer).lead for name in BUILT_IN}
    assert leads.pop("human_assistant") == " "
    assert set(leads.values()) == {""}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_format_writes_bos_only_where_the_tokenizer_does(name):
    from tokenizers import processors

    without = make_tokenizer(special=("<s>",), bos_token="<s>")
    template = load_template(name, without)
    assert "<s>" not in render(template, without, [user("U")], add_generation_prompt=True)
    writing = make_tokenizer(special=("<s>",), bos_token="<s>")
    number = writing.convert_tokens_to_ids("<s>")
    writing.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", number)]
    )
    text = render(load_template(name, writing), writing, [user("U"), assistant("A")], add_generation_prompt=False)
    assert text.startswith("<s>")
    assert text.count("<s>") == 1


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "chatml"])
def test_formats_without_a_place_for_thinking_or_tools_say_so(name):
    tokenizer = make_tokenizer()
    template = load_template(name, tokenizer)
    with pytest.raises(HeedError, match="no place for reasoning"):
        render(template, tokenizer, [user("U"), assistant("A", reasoning="R")], add_generation_prompt=False)
    with pytest.raises(HeedError, match="no place for tools"):
        render(template, tokenizer, [user("U")], tools=wires.TOOLS, add_generation_prompt=True)
    with pytest.raises(HeedError, match="no place for tool calls"):
        render(template, tokenizer, [user("U"), Message("tool", "x")], add_generation_prompt=True)


def test_the_model_own_template_comes_first_and_its_absence_is_told():
    tokenizer = make_tokenizer()
    fallback = load_template(None, tokenizer)
    assert (fallback.name, fallback.note) == (
        "chatml",
        "This model has no chat template of its own: ChatML is used.",
    )
    tokenizer.chat_template = wires.TRIMS
    own = load_template(None, tokenizer)
    assert own.source == wires.TRIMS
    assert own.note == ""


def test_of_several_templates_of_a_tokenizer_the_default_is_taken():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"rag": wires.TRIMS, "default": wires.PLAIN}
    assert load_template(None, tokenizer).source == wires.PLAIN


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(HeedError) as caught:
        load_template("chat_ml", make_tokenizer())
    assert "'chatml'" in str(caught.value)
    assert "templates.chat" in str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_tokenizer_without_any_end_is_refused(name):
    tokenizer = make_tokenizer(eos_token=None)
    if name == "chatml":
        assert stop_ids(load_template(name, tokenizer), tokenizer) == (tokenizer.convert_tokens_to_ids("<|im_end|>"),)
        return
    with pytest.raises(HeedError, match="eos"):
        load_template(name, tokenizer)


@pytest.mark.parametrize("source", ["{% for m in messages %}", "{{ messages[0].nothing.more }}", "always the same"])
def test_a_broken_template_is_refused_on_loading(tmp_path, source):
    with pytest.raises(HeedError, match="wire"):
        load(tmp_path, source)


def test_a_template_that_nothing_ends_is_refused_on_loading(tmp_path):
    with pytest.raises(HeedError, match="Nothing ends a reply"):
        load(tmp_path, wires.UNCLOSED, make_tokenizer(eos_token=None))


def test_a_template_without_terminator_is_announced(tmp_path):
    tokenizer = make_tokenizer()
    template = load(tmp_path, wires.UNCLOSED, tokenizer)
    assert "<|endoftext|> is added, one sequence per turn" in template.note
    assert stop_ids(template, tokenizer) == (tokenizer.eos_token_id,)


def test_what_a_model_must_write_before_each_answer_is_announced(tmp_path):
    template = load(tmp_path, wires.NO_GENERATION_PROMPT)
    assert "also learns to write '<|im_start|>assistant\\n'" in template.note


def test_stop_ids_start_with_the_terminator_of_the_template_and_end_with_eos(tmp_path):
    tokenizer = make_tokenizer(special=("<|call|>",))
    calls = wires.PLAIN.replace(
        "{{- '<|im_start|>' + message.role",
        "{%- if message.tool_calls %}{{- '<|im_start|>assistant\\n' + message.tool_calls[0].function.name"
        " + (message.tool_calls[0].function.arguments | tojson) + '<|call|>' }}{%- continue %}{%- endif %}"
        "{{- '<|im_start|>' + message.role",
    )
    template = load(tmp_path, calls, tokenizer)
    assert tokenizer.convert_ids_to_tokens(list(stop_ids(template, tokenizer))) == [
        "<|im_end|>",
        "<|call|>",
        "<|endoftext|>",
    ]


def test_dates_are_frozen_and_the_user_can_give_another(tmp_path):
    tokenizer = make_tokenizer()
    template = load(tmp_path, wires.DATED, tokenizer)
    assert "strftime_now" not in template.source
    text = render(template, tokenizer, [user("U")], add_generation_prompt=True)
    assert "Today: 01 January 2026<|im_end|>" in text
    assert "2026-01-01" in template.note
    other = render(
        template, tokenizer, [user("U")], template_kwargs={"date_string": "1 May"}, add_generation_prompt=True
    )
    assert "Today: 1 May<|im_end|>" in other


def test_a_date_that_cannot_be_frozen_is_refused(tmp_path):
    with pytest.raises(HeedError, match="frozen"):
        load(tmp_path, wires.COMPUTED_DATE)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (wires.PLAIN, None),
        (wires.BOS, None),
        (wires.DEFAULT_SYSTEM, "You are kind."),
        (wires.DATED, "Today: 01 January 2026"),
        (wires.NO_SYSTEM, None),
        (wires.THINKS, None),
        (wires.UNCLOSED, None),
        (wires.BOS_PER_TURN, None),
    ],
)
def test_a_system_text_that_the_template_puts_in_is_found(tmp_path, source, found):
    tokenizer = make_tokenizer(special=("<s>",), bos_token="<s>")
    assert default_system(load(tmp_path, source, tokenizer), tokenizer) == found


def test_the_preamble_of_alpaca_counts_as_its_default_system_text():
    tokenizer = make_tokenizer()
    assert (default_system(load_template("alpaca", tokenizer), tokenizer) or "").startswith("Below is an instruction")
    assert default_system(load_template("human_assistant", tokenizer), tokenizer) is None


def test_defaults_are_part_of_the_source_and_a_request_overrides_them(tmp_path):
    tokenizer = make_tokenizer(added=("<think>", "</think>"))
    template = with_defaults(load(tmp_path, wires.THINKS, tokenizer), tokenizer, {"enable_thinking": False})
    closed = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert render(template, tokenizer, [user("U")], add_generation_prompt=True).endswith(closed)
    thinking = render(
        template, tokenizer, [user("U")], template_kwargs={"enable_thinking": True}, add_generation_prompt=True
    )
    assert thinking.endswith("<|im_start|>assistant\n")
    assert "enable_thinking=false" in template.note
    assert "also learns to write" not in template.note, "no longer true with this default"
    # Any server that renders the bare source gets the same.
    bare = tokenizer.apply_chat_template(
        [{"role": "user", "content": "U"}], chat_template=template.source, tokenize=False, add_generation_prompt=True
    )
    assert bare.endswith(closed)


def test_a_default_that_the_template_does_not_read_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError, match="does not read the kwarg 'enable_thinkin'"):
        with_defaults(load(tmp_path, wires.THINKS, tokenizer), tokenizer, {"enable_thinkin": False})
    with pytest.raises(HeedError, match="truth value, number or text"):
        with_defaults(load(tmp_path, wires.THINKS, tokenizer), tokenizer, {"enable_thinking": [1]})


def test_a_template_that_writes_bos_twice_is_refused_on_loading(tmp_path):
    with pytest.raises(HeedError, match="twice"):
        load(tmp_path, wires.DOUBLE_BOS, make_tokenizer(special=("<s>",), bos_token="<s>"))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "wire.jinja").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HeedError, match="UTF-8"):
        load_template(str(tmp_path / "wire.jinja"), make_tokenizer())


@pytest.mark.parametrize("source", [None, wires.TRIMS, wires.THINKS, wires.DEFAULT_SYSTEM, wires.BOS, wires.DATED])
def test_ids_are_those_that_a_server_makes_from_the_checkpoint(tmp_path, source):
    from heedlm.messages import Request
    from heedlm.tokens.encode import encode_prompt
    from heedlm.tokens.tokenizer import load_tokenizer

    tokenizer = make_tokenizer(special=("<s>",), added=("<think>", "</think>"), bos_token="<s>")
    template = load(tmp_path, source, tokenizer) if source else load_template("chatml", tokenizer)
    tokenizer.chat_template = template.source
    tokenizer.save_pretrained(tmp_path / "model")
    server = load_tokenizer(tmp_path / "model")
    messages = [system("Be brief."), user("What is the capital of Australia?"), assistant("Canberra."), user("And?")]
    wire = [{"role": message.role, "content": message.content} for message in messages]
    sent = server.apply_chat_template(wire, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert encode_prompt(tokenizer, template, Request(tuple(messages))).ids == tuple(sent)


@pytest.mark.parametrize("value", ["it's \\ a\nline", 3, 0.5, True, None])
def test_a_default_reaches_the_template_as_it_was_given(tmp_path, value):
    tokenizer = make_tokenizer()
    shows = "{{- (value | tojson) if value is defined else 'none' }}" + wires.PLAIN
    template = with_defaults(load(tmp_path, shows, tokenizer), tokenizer, {"value": value})
    plain = ChatTemplate("plain", shows)
    expected = render(plain, tokenizer, [user("U")], template_kwargs={"value": value}, add_generation_prompt=True)
    assert render(template, tokenizer, [user("U")], add_generation_prompt=True) == expected


def test_a_first_line_break_of_a_template_survives_defaults(tmp_path):
    tokenizer = make_tokenizer()
    plain = ChatTemplate("plain", "\n" + wires.PLAIN)
    template = with_defaults(load(tmp_path, plain.source, tokenizer), tokenizer, {"message": 1})
    assert render(template, tokenizer, [user("U")], add_generation_prompt=True) == render(
        plain, tokenizer, [user("U")], add_generation_prompt=True
    )


def test_the_fingerprint_tells_templates_and_tokenizers_apart_but_not_a_padding_token(tmp_path):
    tokenizer = make_tokenizer()
    one = load_template("chatml", tokenizer)
    assert fingerprint(one, tokenizer) == fingerprint(load_template("chatml", make_tokenizer()), make_tokenizer())
    assert fingerprint(one, tokenizer) != fingerprint(load_template("alpaca", tokenizer), tokenizer)
    assert fingerprint(one, tokenizer) != fingerprint(ChatTemplate("chatml", one.source + " "), tokenizer)
    padded = make_tokenizer(special=("<padding>",), pad_token="<padding>")
    assert fingerprint(one, tokenizer) == fingerprint(one, padded)
    other_end = make_tokenizer(eos_token="<|im_end|>")
    assert fingerprint(one, tokenizer) != fingerprint(one, other_end)


def test_a_checkpoint_gives_back_the_template_that_was_written_into_it(tmp_path):
    tokenizer = make_tokenizer()
    for name in BUILT_IN:
        template = load_template(name, tokenizer)
        tokenizer.chat_template = template.source
        tokenizer.save_pretrained(tmp_path / name)
        from heedlm.tokens.tokenizer import load_tokenizer

        again = load_tokenizer(tmp_path / name)
        own = load_template(None, again)
        assert own.source == template.source
        assert fingerprint(own, again) == fingerprint(template, tokenizer)
        assert (own.grade, own.stop_strings) == (template.grade, template.stop_strings)


def test_an_empty_conversation_and_half_a_character_are_refused():
    tokenizer = make_tokenizer()
    template = load_template("chatml", tokenizer)
    with pytest.raises(HeedError, match="empty conversation"):
        render(template, tokenizer, [], add_generation_prompt=True)
    with pytest.raises(HeedError, match="half a character"):
        render(template, tokenizer, [user("\ud83d")], add_generation_prompt=True)


def test_the_sandbox_holds(tmp_path):
    with pytest.raises(HeedError):
        load(tmp_path, "{{ ''.__class__.__mro__[1].__subclasses__() }}" + wires.PLAIN)


def test_importing_the_renderer_does_not_import_the_heavy_libraries():
    import subprocess
    import sys

    code = "import sys, heedlm.templates.chat, heedlm.tokens.encode, heedlm.tokens.proof, heedlm.tokens.show;"
    code += "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
