"""Around the compiler: conversations, values as typed, checks on answers, differences, first files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.eval.text import collapse
from heedlm.instructions.answers import check_faults, failures
from heedlm.instructions.compile import compile_
from heedlm.instructions.conversation import conversation, typed_input
from heedlm.instructions.diff import changes, word_changes
from heedlm.instructions.format import load, parse
from heedlm.instructions.given import values_of, with_examples
from heedlm.instructions.kinds import KINDS
from heedlm.instructions.lint.run import lint_text
from heedlm.instructions.scaffold import _BRACES, QUESTIONS, from_answers, from_text
from heedlm.instructions.values import wording
from heedlm.instructions.write import write
from heedlm.messages import Message

TUTOR = load("patient-tutor")


def test_a_conversation_wraps_each_turn_and_says_the_system_text_once() -> None:
    one = [Message("user", "Why?")]
    first = conversation(TUTOR, one)
    assert [message.role for message in first] == ["system", "user"]
    two = conversation(TUTOR, [*one, Message("assistant", "What do you see?"), Message("user", "# Task\nA pie.")])
    assert two[: len(first)] == first
    assert [message.role for message in two] == ["system", "user", "assistant", "user"]
    assert two[-1].content == "> # Task\nA pie."
    with_own = conversation(TUTOR, [Message("system", "Speak German."), *one], {"level": 3})
    assert with_own[0].content.endswith("Use level 3.\n\n# Commands" + with_own[0].content.partition("# Commands")[2])
    assert with_own[0].content.endswith("Speak German.")
    assert conversation(TUTOR, [Message("system", "Only this.")]) == (Message("system", "Only this."),)
    assert conversation(TUTOR, []) == ()


def test_a_conversation_keeps_what_stands_around_the_input_and_leaves_the_cue_out() -> None:
    triage = load("ticket-triage")
    last = conversation(triage, [Message("user", "Where is it?")])[-1].content
    assert last.startswith("```\nWhere is it?\n```")
    assert "# Output format" in last
    sentiment = conversation(load("review-sentiment"), [Message("user", "Nice.")])
    assert not sentiment[-1].content.endswith("Output:")
    assert sentiment[-1].content == "Input: Nice."


def test_which_input_is_typed_is_clear_or_refused() -> None:
    assert typed_input(TUTOR).name == "message"
    answer = load("answer-from-text")
    with pytest.raises(HeedError, match="document, question"):
        typed_input(answer)
    assert typed_input(answer, {"document": "x"}).name == "question"
    with pytest.raises(HeedError, match="nothing is left"):
        typed_input(TUTOR, {"message": "x"})


def test_values_as_a_person_types_them(tmp_path: Path) -> None:
    (tmp_path / "mail.txt").write_text("From a file.\n")
    triage = load("ticket-triage")
    pairs = [f"ticket=@{tmp_path / 'mail.txt'}", "queues=a, b", "company=@@home=1"]
    assert values_of(triage, pairs) == {"ticket": "From a file.\n", "queues": ["a", "b"], "company": "@home=1"}
    assert values_of(triage, ['queues=["x"]']) == {"queues": ["x"]}
    assert values_of(load("short-story"), ["words=90"]) == {"words": 90}
    with pytest.raises(HeedError) as refused:
        values_of(triage, ["ticket", "tickt=a", f"ticket=@{tmp_path}/none.txt"])
    assert len(refused.value.problems) == 3
    with pytest.raises(HeedError, match="no integer"):
        values_of(load("short-story"), ["words=many"])
    filled, shown = with_examples(triage, {})
    assert shown == ["ticket"]
    assert filled["ticket"].startswith("My card")
    assert with_examples(triage, {"ticket": "x"}) == ({"ticket": "x"}, [])


def test_answers_are_judged_by_the_checks_of_the_file() -> None:
    triage = load("ticket-triage")
    assert failures(triage, '{"queue": "billing", "summary": "Was billed twice."}') == []
    for answer, why in (
        ("billing", "not JSON"),
        ('{"queue": "billing"}', "'summary' is missing"),
        ('{"queue": "sales", "summary": "x"}', "expected one of"),
        ('{"queue": "billing", "summary": 3}', "expected string"),
        ('{"queue": "billing", "summary": "x", "mood": 1}', "not among the outputs"),
        ('{"queue": "billing", "summary": "' + "word " * 21 + '"}', "words"),
        ("[1]", "not a JSON object"),
    ):
        assert any(why in one for one in failures(triage, answer)), answer
    assert check_faults({"type": "is-json", "schema": "outputs"}, []) != []
    assert check_faults({"type": "word-count", "max": 2, "field": "nope"}, ["queue"]) != []
    assert check_faults("is-json", []) != []
    assert check_faults({"type": "is-json"}, []) == []


def test_differences_are_told_by_block_and_by_word() -> None:
    before = load("ticket-triage")
    assert changes(before, before) == []
    after = before.without("role").with_text("task", before.block("task").text.replace("one queue", "queue"))
    after = after.ordered(["fallback", "rules"])
    found = {change.where: change for change in changes(before, after)}
    assert found["block role"].what == "removed"
    assert found["block task"].what == "changed"
    assert ("-", "one ") in found["block task"].words or ("-", "one") in [
        (s, w.strip()) for s, w in found["block task"].words
    ]
    assert any(change.what == "moved" for change in changes(before, after))
    back = {change.where: change.what for change in changes(after, before)}
    assert back["block role"] == "added"
    other = changes(before, load("review-sentiment"))
    assert {"name", "input ticket", "input review", "examples"} <= {change.where for change in other}


@given(before=st.text(alphabet="ab \n", max_size=30), after=st.text(alphabet="ab \n", max_size=30))
def test_word_changes_rebuild_both_texts(before: str, after: str) -> None:
    found = list(word_changes(before, after))
    assert "".join(words for sign, words in found if sign != "+") == before
    assert "".join(words for sign, words in found if sign != "-") == after


def test_a_prompt_in_plain_text_becomes_blocks_without_a_changed_word() -> None:
    made = from_text(
        "mail",
        "You are a clerk for {company}. Sort the mail into a queue.\n- Use English.\nReply with one word.\nIf it is empty say none.\n\n{mail}\n",
    )
    blocks = {block.kind: block.text for block in made.instruction.blocks}
    assert blocks == {
        "role": "You are a clerk for {{ company }}.",
        "task": "Sort the mail into a queue.",
        "constraints": "- Use English.",
        "output_format": "Reply with one word.",
        "fallback": "If it is empty say none.",
        "data": "{{ mail }}",
    }
    assert [one.name for one in made.instruction.inputs] == ["company", "mail"]
    assert parse(write(made.instruction)) == made.instruction


def test_headings_of_a_prompt_become_blocks() -> None:
    made = from_text(
        "x", "## Role\nA clerk.\n\n**Rules**\n- one\n\nTask:\nSort it.\n\n# Strange thing\nText.\nOUTPUT: a word"
    )
    kinds = [(block.kind, block.title) for block in made.instruction.blocks]
    assert ("role", "Role") in kinds
    assert ("task", "Task") in kinds
    assert ("context", "Strange thing") in kinds
    assert parse(write(made.instruction)) == made.instruction


def test_code_stays_whole_and_tags_that_name_a_block_open_one() -> None:
    made = from_text(
        "x",
        'Extract the fields as JSON.\n```json\n{"a": 1,\n\n  "b": [2]}\n```\nUse null for what is missing.\n<mail>\n{mail}\n</mail>',
    )
    assert made.instruction.block("task").text.startswith(
        'Extract the fields as JSON.\n```json\n{"a": 1,\n\n  "b": [2]}\n```\n'
    )
    assert made.instruction.block("data").text == "<mail>\n{{ mail }}\n</mail>"
    tagged = from_text(
        "x", "<role>A clerk.</role>\n<task>\nSort the mail.\n</task>\n<rules>\n- one\n</rules>\n<mail>{{ mail }}</mail>"
    )
    assert [(one.kind, one.text) for one in tagged.instruction.blocks] == [
        ("role", "A clerk."),
        ("task", "Sort the mail."),
        ("constraints", "- one"),
        ("data", "<mail>{{ mail }}</mail>"),
    ]
    for one in (made, tagged):
        assert parse(write(one.instruction)) == one.instruction


def test_an_open_fence_is_closed_and_said_and_nothing_is_made_of_nothing() -> None:
    made = from_text("x", "Sort it.\n```json\nof {x}")
    assert made.instruction.block("task").text.endswith("```json\nof {{ x }}\n```")
    assert any("fence" in note for note in made.notes)
    assert parse(write(made.instruction)) == made.instruction
    for empty in ("", " \n\t\n", "\ufeff"):
        with pytest.raises(HeedError, match="no text"):
            from_text("x", empty)


def test_an_order_before_a_value_stays_an_order_and_a_label_at_the_end_is_a_cue() -> None:
    made = from_text("x", "Classify the tweet for {reader}.\nUse one word.\n\nTweet: {tweet}\nMood:")
    assert [(one.kind, one.role, one.text) for one in made.instruction.blocks][-2:] == [
        ("data", "user", "Tweet: {{ tweet }}"),
        ("cue", "assistant", "Mood:"),
    ]
    assert [(one.name, one.trust) for one in made.instruction.inputs] == [("reader", "user"), ("tweet", "data")]
    order = from_text("x", "Summarise: {text}\nAt most 20 words.").instruction
    assert order.block("task").text == "Summarise: At most 20 words."
    assert order.block("data").text == "{{ text }}"
    signs = from_text("x", "Tag each line with [BUG] or [NIT].\n\n{{ diff }}").instruction
    assert [one.name for one in signs.inputs] == ["diff"]
    assert [one.name for one in from_text("x", "Write to [NAME].").instruction.inputs] == ["name", "text"]


def test_an_instruction_is_taken_as_it_is() -> None:
    text = "system:\n# Task\nSort.\n\nuser:\nx"
    assert from_text("other", text).instruction.name == "other"


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "You are a clerk.",
                "# Task",
                "## Rules",
                "- one",
                "{x}",
                "{{ y }}",
                "{% if",
                "{#",
                "```",
                "<rules>",
                "# Odd",
                "Reply in JSON.",
                "",
                "Sort the mail.",
            ]
        ),
        max_size=8,
    )
)
def test_any_prompt_becomes_a_file_that_can_be_read_or_is_refused_in_words(lines: list[str]) -> None:
    try:
        made = from_text("x", "\n".join(lines))
        text = write(made.instruction)
    except HeedError:
        return
    assert parse(text) == made.instruction
    values = {one.name: "v" for one in made.instruction.inputs}
    assert compile_(made.instruction, values).messages


def test_answers_to_the_questions_make_an_instruction_without_errors() -> None:
    answers = {
        "task": "Summarise the mail in one sentence.",
        "role": "You read mail for a busy shop owner.",
        "constraints": "keep names and dates; write in English",
        "output_format": "One sentence of at most 20 words.",
        "fallback": 'If the mail is empty, write "No mail."',
    }
    assert {kind for kind, _ in QUESTIONS} == set(answers)
    made = from_answers("mail", answers, input_name="mail")
    assert made.instruction.block("constraints").text == "- Keep names and dates.\n- Write in English."
    assert not [one for one in lint_text(write(made.instruction)).findings if one.severity == "error"]
    assert from_answers("mail", {"task": "Sort it."}).instruction.ids == ("task", "data")
    assert set(answers) <= set(KINDS)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(["{x}", "{{ y }}", "{{", "}}", "{%", "%}", "{#", "#}", "{", "}", "word", " ", '"a": 1']),
        max_size=12,
    )
)
def test_braces_of_the_author_come_out_as_they_are_and_each_placeholder_is_read(parts: list[str]) -> None:
    line = collapse("Say " + "".join(parts) + " {z} end")
    found = from_text("x", line)
    read = frozenset[str]().union(*(wording(block.text).names for block in found.instruction.blocks))
    assert read == {one.name for one in found.instruction.inputs}
    assert parse(write(found.instruction)) == found.instruction
    values = {one.name: f"V{one.name}" for one in found.instruction.inputs}
    wanted = _BRACES.sub(lambda match: f"V{match[1] or match[2]}", line)
    assert compile_(found.instruction, values).messages[0].content == f"# Task\n{wanted}"


def test_braces_and_placeholders_of_one_text_do_not_meet() -> None:
    found = from_text("o", "Summarise {text} in {n} words. Print {{ at the end.").instruction
    assert found.block("task").text == "Summarise {{ text }} in {{ n }} words. Print {{ '{{' }} at the end."
    names = from_text("o", "Sort {in} for {NOT}.").instruction
    assert [one.name for one in names.inputs][:2] == ["in", "not_"]
    titled = from_text("o", "# Notes on {place}\nSort the mail.").instruction
    assert titled.block("task").text == "Notes on {{ place }} Sort the mail."


def test_a_text_that_is_a_template_keeps_its_tags_and_gets_its_inputs() -> None:
    text = "Sort the mail{% if day %} of {{ day }}{% endif %} by {% for one in rules %}{{ one }}, {% endfor %}{{ who.name | upper }}."
    made = from_text("o", text).instruction
    assert [(one.name, one.kind, one.required) for one in made.inputs] == [
        ("day", "string", False),
        ("rules", "array", True),
        ("who", "object", True),
        ("text", "string", True),
    ]
    given_ = {"rules": ["age", "size"], "who": {"name": "Ann"}, "text": "x"}
    assert compile_(made, given_).messages[0].content == "# Task\nSort the mail by age, size, ANN."


def test_what_cannot_be_made_a_file_is_told_at_its_own_line() -> None:
    text = "# Task\nSort the mail.\n\n{% if day %}\n# Rules\n- Of {{ day }}.\n{% endif %}\n"
    with pytest.raises(HeedError) as refused:
        from_text("mail", text, "old.txt")
    assert {one.where for one in refused.value.problems} <= {"old.txt:4", "old.txt:7"}
    with pytest.raises(HeedError) as refused:
        from_text("mail", "# Task\nSort it.\n<letter>\nby {x} size\n", "old.txt")
    assert [one.where for one in refused.value.problems] == ["old.txt:3"]
    with pytest.raises(HeedError) as refused:
        from_text("mail", "system:\n# Task\nSort it.\n# Rulez\n- x\n", "old.txt")
    assert [one.where for one in refused.value.problems] == ["old.txt:4"]


def test_a_file_of_a_value_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes(b"\xff\xfe")
    for name, why in (("none.txt", "No such file"), ("", "directory"), ("old.txt", "not UTF-8")):
        place = tmp_path / name
        with pytest.raises(HeedError) as refused:
            values_of(load("ticket-triage"), [f"ticket=@{place}"])
        (problem,) = refused.value.problems
        assert "'ticket'" in problem.what
        assert why in problem.what
        assert "Errno" not in problem.what
        assert problem.where == str(place)
        assert "@@" in problem.mend
