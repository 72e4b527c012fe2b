"""Which text is learned, for every kind of template."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Message
from heedlm.templates.chat import BUILT_IN, load_template, render, segments
from heedlm.templates.controls import plain

from . import wires
from .wires import CALL, MULTI, SINGLE, THINKING, TOOLS, assistant, example, make_tokenizer, system, user


def load(tmp_path: Path, source: str, tokenizer):
    path = tmp_path / "wire.jinja"
    path.write_text(source, encoding="utf-8")
    return load_template(str(path), tokenizer)


def learned(sequence) -> str:
    return plain("".join(segment.text for segment in sequence if segment.weight > 0))


def whole(sequence) -> str:
    return "".join(segment.text for segment in sequence)


def runs(sequence) -> list[str]:
    """Learned stretches, each up to its terminator."""
    found, open_run = [], False
    for segment in sequence:
        if segment.weight > 0:
            if not open_run:
                found.append("")
            found[-1] += plain(segment.text)
        open_run = segment.weight > 0 and segment.origin != "terminator"
    return found


@pytest.mark.parametrize("name", BUILT_IN)
def test_answers_and_their_ends_are_learned_and_nothing_else(name):
    tokenizer = make_tokenizer()
    template = load_template(name, tokenizer)
    (sequence,) = segments(template, tokenizer, MULTI)
    end = "<|im_end|>" if name == "chatml" else "<|endoftext|>"
    lead = " " if name == "human_assistant" else ""
    assert runs(sequence) == [f"{lead}Canberra.{end}", f"{lead}Canberra.{end}", f"{lead}user{end}"]
    assert whole(sequence) == render(template, tokenizer, MULTI.messages, add_generation_prompt=False)


def test_the_line_break_behind_a_terminator_is_not_learned():
    tokenizer = make_tokenizer()
    (sequence,) = segments(load_template("chatml", tokenizer), tokenizer, SINGLE)
    assert [(segment.text, segment.weight, segment.origin) for segment in sequence][-3:] == [
        ("Canberra.", 1.0, "assistant"),
        ("<|im_end|>", 1.0, "terminator"),
        ("\n", 0.0, "template"),
    ]


def test_messages_in_the_context_keep_their_role():
    tokenizer = make_tokenizer()
    (sequence,) = segments(load_template("chatml", tokenizer), tokenizer, MULTI)
    assert [segment.origin for segment in sequence if segment.origin not in ("template", "terminator")] == [
        "system", "user", "assistant", "user", "assistant", "user", "assistant",
    ]  # fmt: skip


def test_weights_of_turns_are_kept_and_a_turn_of_weight_zero_is_context():
    tokenizer = make_tokenizer()
    first, second = assistant("one", weight=0.0), assistant("two", weight=0.25)
    (sequence,) = segments(
        load_template("chatml", tokenizer), tokenizer, example(user("a"), first, user("b"), second, user("c"))
    )
    assert learned(sequence) == "two<|im_end|>"
    assert {segment.weight for segment in sequence} == {0.0, 0.25}
    assert "c" not in whole(sequence).split("two")[1], "what follows the last learned turn teaches nothing"


def test_a_greeting_of_the_assistant_is_context():
    tokenizer = make_tokenizer()
    template = load_template("chatml", tokenizer)
    (sequence,) = segments(template, tokenizer, example(assistant("Hi!"), user("a"), assistant("b")))
    assert learned(sequence) == "b<|im_end|>"
    with pytest.raises(HeedError, match="opens the conversation"):
        segments(template, tokenizer, example(assistant("Hi!", weight=1.0), user("a"), assistant("b")))


@pytest.mark.parametrize(
    "messages", [(user("a"),), (assistant("a"),), (user("a"), assistant("b", weight=0.0)), (system("a"), user("b"))]
)
def test_no_learned_tokens_at_all_is_an_error_and_never_a_mask_of_zeros(messages):
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError, match="no token to learn") as caught:
        segments(load_template("chatml", tokenizer), tokenizer, example(*messages))
    assert caught.value.problems[0].where == "rows.jsonl:1"


def test_only_answers_can_be_learned():
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError, match="only answers are learned"):
        segments(
            load_template("chatml", tokenizer), tokenizer, example(Message("user", "a", weight=1.0), assistant("b"))
        )


def test_an_empty_answer_teaches_its_end():
    tokenizer = make_tokenizer()
    (sequence,) = segments(load_template("chatml", tokenizer), tokenizer, example(user("a"), assistant("")))
    assert learned(sequence) == "<|im_end|>"


def test_a_prompt_of_nothing_is_refused():
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError, match="renders its prompt to nothing"):
        segments(load_template("base", tokenizer), tokenizer, example(user(""), assistant("b")))


def test_rewritten_history_gives_one_sequence_per_turn(tmp_path):
    tokenizer = make_tokenizer(added=("<think>", "</think>"))
    template = load(tmp_path, wires.THINKS, tokenizer)
    first, second = segments(template, tokenizer, THINKING)
    assert learned(first) == "<think>\n2 + 2 = 4\n</think>\n\nFour.<|im_end|>"
    assert learned(second) == "<think>\n4 + 3 = 7\n</think>\n\nSeven.<|im_end|>"
    assert "2 + 2" not in whole(second), "the history is what a server would send"


def test_thinking_can_be_left_unlearned(tmp_path):
    tokenizer = make_tokenizer(added=("<think>", "</think>"))
    for template in (load(tmp_path, wires.THINKS, tokenizer), load_template("chatml", tokenizer)):
        sequences = segments(template, tokenizer, THINKING, learn_reasoning=False)
        assert [run for sequence in sequences for run in runs(sequence)] == ["Four.<|im_end|>", "Seven.<|im_end|>"]
        assert "2 + 2 = 4" in whole(sequences[0])


@pytest.mark.parametrize("content", ["i", "k>", "think", "\n", ""])
def test_thinking_is_parted_from_an_answer_that_looks_like_the_marks(tmp_path, content):
    tokenizer = make_tokenizer(added=("<think>", "</think>"))
    row = example(user("a"), assistant(content, reasoning="i"))
    template = load(tmp_path, wires.THINKS, tokenizer)
    (sequence,) = segments(template, tokenizer, row, learn_reasoning=False)
    assert learned(sequence) == content + "<|im_end|>"


def test_a_think_block_that_only_the_prompt_opens_is_refused_with_the_switch_that_mends_it(tmp_path):
    tokenizer = make_tokenizer(added=("<think>",))
    template = load(tmp_path, wires.OPENS, tokenizer)
    with pytest.raises(HeedError) as caught:
        segments(template, tokenizer, SINGLE)
    (problem,) = caught.value.problems
    assert "a server would send" in problem.what
    assert "rows.jsonl:1 (id row-1, turn 2)" in problem.where
    assert "templates.kwargs.enable_thinking=false" in problem.mend
    switched = replace(SINGLE, template_kwargs={"enable_thinking": False})
    assert learned(segments(template, tokenizer, switched)[0]) == "Canberra.<|im_end|>"


def test_a_boundary_that_nothing_mends_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError) as caught:
        segments(load(tmp_path, wires.OPENS_ALWAYS, tokenizer), tokenizer, SINGLE)
    assert "Choose another template" in caught.value.problems[0].mend


def test_trimmed_text_is_learned_as_it_is_rendered(tmp_path):
    tokenizer = make_tokenizer()
    template = load(tmp_path, wires.TRIMS, tokenizer)
    (sequence,) = segments(template, tokenizer, example(user(" a "), assistant("  b \n"), user("c"), assistant(" d")))
    assert runs(sequence) == ["b<|im_end|>", "d<|im_end|>"]


def test_a_template_that_changes_the_answer_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError):
        load(tmp_path, wires.CHANGES_TEXT, tokenizer)


def test_reasoning_that_a_template_drops_is_refused(tmp_path):
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError, match="does not render its reasoning"):
        segments(load(tmp_path, wires.PLAIN, tokenizer), tokenizer, THINKING)


def test_tool_calls_that_a_template_drops_are_refused(tmp_path):
    tokenizer = make_tokenizer()
    row = example(user("a"), assistant("", tool_calls=(CALL,)))
    with pytest.raises(HeedError, match="does not render its tool call"):
        segments(load(tmp_path, wires.PLAIN, tokenizer), tokenizer, row)


def test_tool_calls_are_learned_and_tool_results_never():
    tokenizer = make_tokenizer()
    row = example(
        user("Weather?"),
        assistant("Let me see.", tool_calls=(CALL,)),
        Message("tool", "sunny <|im_end|>", tool_call_id="abcdefghi"),
        assistant("It is sunny."),
        tools=TOOLS,
    )
    (sequence,) = segments(load_template("chatml", tokenizer), tokenizer, row)
    first, second = runs(sequence)
    assert first == (
        'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn <|im_end|>", "days": [1, 2]}}'
        "\n</tool_call><|im_end|>"
    )
    assert second == "It is sunny.<|im_end|>"
    assert {segment.origin for segment in sequence if segment.weight} == {"assistant", "tool_calls", "terminator"}


@pytest.mark.parametrize("source", [wires.UNCLOSED, wires.CLOSED_BETWEEN])
def test_where_the_template_ends_no_answer_eos_is_put_behind_each_in_a_sequence_of_its_own(tmp_path, source):
    tokenizer = make_tokenizer(special=("<|user|>", "<|assistant|>", "<|system|>"))
    template = load(tmp_path, source, tokenizer)
    sequences = segments(template, tokenizer, MULTI)
    assert [learned(sequence) for sequence in sequences] == [
        "Canberra.<|endoftext|>",
        "Canberra.<|endoftext|>",
        "user<|endoftext|>",
    ]
    for sequence in sequences:
        assert whole(sequence).endswith("<|endoftext|>")


def test_a_tail_behind_the_last_turn_is_neither_learned_nor_a_reason_to_split(tmp_path):
    tokenizer = make_tokenizer()
    (sequence,) = segments(load(tmp_path, wires.LAST_TAIL, tokenizer), tokenizer, MULTI)
    assert runs(sequence) == ["Canberra.<|im_end|>", "Canberra.<|im_end|>", "user<|im_end|>"]
    assert (sequence[-1].text, sequence[-1].weight) == ("\n<|endoftext|>", 0.0)


def test_a_template_that_refuses_a_role_names_row_turn_reason_and_mend(tmp_path):
    tokenizer = make_tokenizer()
    with pytest.raises(HeedError) as caught:
        segments(load(tmp_path, wires.NO_SYSTEM, tokenizer), tokenizer, MULTI)
    (problem,) = caught.value.problems
    assert "'wire'" in problem.what
    assert "System role not supported" in problem.what
    assert problem.where == "rows.jsonl:1 (id row-1, turn 3)"
    assert "head of the first user turn" in problem.mend
    with pytest.raises(HeedError, match="alternate"):
        segments(load(tmp_path, wires.ALTERNATES, tokenizer), tokenizer, example(user("a"), user("b"), assistant("c")))


def test_the_date_of_an_example_is_the_date_of_its_prompt(tmp_path):
    tokenizer = make_tokenizer()
    row = replace(SINGLE, template_kwargs={"date_string": "1 May 1999"})
    (sequence,) = segments(load(tmp_path, wires.DATED, tokenizer), tokenizer, row)
    assert "Today: 1 May 1999" in whole(sequence)


def test_bos_stays_where_the_template_puts_it(tmp_path):
    tokenizer = make_tokenizer(special=("<s>",), bos_token="<s>")
    (sequence,) = segments(load(tmp_path, wires.BOS, tokenizer), tokenizer, MULTI)
    assert whole(sequence).count("<s>") == 1
    (per_turn,) = segments(
        load(tmp_path, wires.BOS_PER_TURN, tokenizer), tokenizer, replace(MULTI, messages=MULTI.messages[1:])
    )
    assert runs(per_turn) == [" Canberra. <|endoftext|>", " Canberra. <|endoftext|>", " user <|endoftext|>"]


def test_without_a_generation_prompt_the_model_learns_to_write_its_own_header(tmp_path):
    tokenizer = make_tokenizer()
    (sequence,) = segments(load(tmp_path, wires.NO_GENERATION_PROMPT, tokenizer), tokenizer, SINGLE)
    assert learned(sequence) == "<|im_start|>assistant\nCanberra.<|im_end|>"


def test_marks_before_an_answer_that_stand_there_only_sometimes_are_refused(tmp_path):
    tokenizer = make_tokenizer()
    moody = wires.PLAIN.replace(
        "{{- '<|im_start|>' + message.role + '\\n'",
        "{{- '<|im_start|>' + message.role + '\\n' + ('EXTRA ' if message.role == 'assistant' and loop.index0 > 2 else '')",
    )
    with pytest.raises(HeedError, match="puts 'EXTRA ' before the answer here"):
        segments(load(tmp_path, moody, tokenizer), tokenizer, MULTI)
