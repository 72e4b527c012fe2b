"""Files of instructions: what is read, what is refused, and that writing gives back what was read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.instructions import library
from heedlm.instructions.blocks import MISSING, Block
from heedlm.instructions.compile import compile_
from heedlm.instructions.format import load, load_as_far, parse
from heedlm.instructions.kinds import KINDS, NAMES, kind_of
from heedlm.instructions.layout import Layout, kept
from heedlm.instructions.write import write

PLAIN = "system:\n# Task\nSummarise the text.\n\nuser:\nx\n"


def problems(text: str) -> list[str]:
    with pytest.raises(HeedError) as refused:
        parse(text, "f.prompty")
    return [f"{one.where.rpartition(':')[2]}: {one.what} | {one.mend}" for one in refused.value.problems]


def test_a_plain_text_is_a_task_and_a_user_text_is_data() -> None:
    for text, kinds in (
        ("Summarise the text.", ["task"]),
        ("system:\nSummarise the text.\nuser:\nHello", ["task", "data"]),
        ("user:\nHello", ["data"]),
        ("system:\nYou are a clerk.\n# Task\nSort.\nuser:\nx\nassistant:\nAnswer:", ["role", "task", "data", "cue"]),
        ("system:\nSort.\nuser:\na\nassistant:\nb\nuser:\nc", ["task", "examples", "examples", "data"]),
        ("assistant:\nHello!\nuser:\nc", ["init", "data"]),
    ):
        assert [block.kind for block in parse(text).blocks] == kinds, text


def test_headings_make_blocks_by_any_of_their_names_and_only_outside_fences_comments_and_raw_text() -> None:
    text = (
        "system:\n# Rules {# id=limits frozen optional repeat=end #}\n- one\n\n"
        "# Steps\n```\n# Task\n```\n{#\n# Task\n#}\n{% raw %}\n# Task\n{% endraw %}\n## Part\n\nuser:\nx"
    )
    limits, steps, _ = parse(text).blocks
    assert (limits.id, limits.kind, limits.frozen, limits.optional, limits.repeat) == (
        *("limits", "constraints", True, True, "end"),
    )
    assert steps.kind == "steps"
    assert steps.text.count("# Task") == 3
    assert "## Part" in steps.text
    assert limits.text == "- one"
    assert (limits.line, limits.text_line) == (2, 3)


def test_a_comment_that_stands_alone_opens_a_block_without_a_heading() -> None:
    _, data, reminder = parse("system:\n# Task\nSort.\n\nuser:\nx\n\n{# id=last kind=reminder #}\nOne word.").blocks
    assert (data.kind, data.text) == ("data", "x")
    assert (reminder.id, reminder.kind, reminder.text) == ("last", "reminder", "One word.")


def test_kinds_are_known_by_every_name_that_is_listed() -> None:
    assert {"role", "goal", "context", "input", "task", "steps", "constraints", "tone", "notation"} <= set(KINDS)
    assert {"output_format", "examples", "grounding", "fallback", "reminder", "data", "cue"} <= set(KINDS)
    for name, kind in NAMES.items():
        found = kind_of(name.title())
        assert found is not None
        assert found.name == kind
    assert kind_of("Nonsense") is None
    orders = [kind.order for kind in KINDS.values()]
    assert orders == sorted(set(orders))


def test_inputs_are_read_as_a_list_or_as_keys() -> None:
    text = (
        "---\ninputs:\n  ticket: {type: string, description: The mail}\n  many: {default: [a, b]}\n  shown: Hello\n---\n"
        "{{ ticket }} {{ many }} {{ shown }}"
    )
    ticket, many, shown = parse(text).inputs
    assert (ticket.kind, ticket.required, ticket.default, ticket.about) == ("string", True, MISSING, "The mail")
    assert (many.kind, many.required, many.default) == ("array", False, ["a", "b"])
    assert (shown.kind, shown.example) == ("string", "Hello")


def test_everything_that_is_wrong_is_told_in_one_pass_with_its_line() -> None:
    found = problems(
        "---\nname: bad\ninputs:\n  - {name: ticket, kind: strng}\nheed:\n  trust: {tickt: data}\n  usee: x\n"
        "  check: [{type: is-jsn}]\n  variants: {tusk: [a]}\n  notation: markdwn\n  budget: 0\n---\n"
        "system:\n# Constrants\n- {{ tikcet }}\n# Task {# kin=task max=0 #}\n{% if ticket %}x\n"
        "# Role {# kind=roll #}\n<rules>\nx\nuser:\n```\nx"
    )
    told = "\n".join(found)
    for line, what, near in (
        (4, "strng", "string"),
        (6, "tickt", "ticket"),
        (7, "usee", "use"),
        (8, "is-jsn", "is-json"),
        (9, "tusk", "task"),
        (10, "markdwn", "markdown"),
        (11, "budget", "tokens"),
        (14, "Constrants", "constraints"),
        (15, "tikcet", "ticket"),
        (16, "kin", "kind"),
        (16, "max", "max=4"),
        (17, "endif", "ends inside"),
        (18, "roll", "role"),
        (19, "<rules>", "</rules>"),
        (22, "fence", "```"),
    ):
        assert any(one.startswith(f"{line}: ") and what in one and near in one for one in found), (line, what, told)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "holds no text"),
        ("---\nname: x\n---\n", "holds no text"),
        ("---\nname: x\nsystem:\nhello", "not closed"),
        ("---\n- a\n---\nhello", "not made of keys"),
        ("---\na: [\n---\nhello", "broken YAML"),
        ("---\nheed: [1]\n---\nhello", "expected keys"),
        ("---\ninputs: 3\n---\nhello", "inputs is 3"),
        ("---\ninputs: [{kind: string}]\n---\nhello", "no name"),
        ("---\ninputs: [{name: a b}]\n---\nhello", "called 'a b'"),
        ("---\ntemplate: {format: {kind: mustache}}\n---\nhello", "mustache"),
        ("---\nheed: {schema: 2}\n---\nhello", "schema"),
        ("---\nheed: {examples: [{a: 1}]}\n---\nhello", "no input and no output"),
        ("---\nheed: {examples: {from: none.jsonl}}\n---\nhello", "cannot be read"),
        ("---\nheed: {ignore: {HD202: ''}}\n---\nhello", "without a reason"),
        ("# Task\na\n# Task\nb", "two blocks are called"),
        ("# Task\n{% macro m() %}{% endmacro %}", "not for a block"),
        ("# Task\n{% include 'x' %}", "not for a block"),
        ("# Task\n{{ a.__class__ }}", "'a'"),
        ("# Task\n{{ x | nofilter }}", "nofilter"),
        ("# Task\n</rules>", "closes nothing"),
    ],
)
def test_bad_files_are_refused_in_words(text: str, what: str) -> None:
    assert any(what in one for one in problems(text)), problems(text)


def test_unknown_keys_in_front_are_left_to_others() -> None:
    """Other programs read the same file; only the section heed is ours."""
    assert parse("---\nmodel: {id: gpt}\ntools: []\nx-mine: 1\n---\nhello").blocks


def test_use_takes_blocks_of_other_files_where_their_kind_stands(tmp_path: Path) -> None:
    (tmp_path / "house.prompty").write_text(
        "---\ninputs: [{name: voice, kind: string, default: calm}, {name: other, kind: string}]\n---\n"
        "system:\n# Tone\nBe {{ voice }}.\n# Role\nYou sort.\n# Fallback {# id=none #}\nSay none."
    )
    mine = tmp_path / "mine.prompty"
    mine.write_text(
        "---\nheed: {use: [house.prompty#tone, house.prompty#none]}\n---\n"
        "system:\n# Task\nSort.\n# Output format\nA word.\n\nuser:\nx"
    )
    found = load(mine)
    assert found.ids == ("task", "tone", "output_format", "none", "data")
    assert [one.name for one in found.inputs] == ["voice"]
    assert found.block("tone").file.endswith("house.prompty")
    flat = parse(write(found), str(mine))
    assert flat.ids == found.ids
    mine.write_text("---\nheed: {use: [house.prompty]}\n---\nsystem:\n# Tone\nMine.\n\nuser:\nx")
    assert load(mine).block("tone").text == "Mine."


def test_circles_and_missing_files_in_use_are_told(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.prompty").write_text(
            f"---\nheed: {{use: [{other}.prompty]}}\n---\nsystem:\n# Task\nSay it."
        )
    with pytest.raises(HeedError, match="circle") as refused:
        load(tmp_path / "a.prompty")
    assert refused.value.problems[0].what.count("->") == 3
    (tmp_path / "d.prompty").write_text("---\nheed: {use: [e.prompty, a.prompti, heed:nothing]}\n---\nhello")
    with pytest.raises(HeedError) as refused:
        load(tmp_path / "d.prompty")
    assert [one.where.rpartition(":")[2] for one in refused.value.problems] == ["2"] * 3


def test_examples_come_from_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"ticket": "a", "queue": "x", "id": 1}\n{"ticket": "b", "queue": "y"}\n')
    mine = tmp_path / "mine.prompty"
    head = "---\ninputs: [{name: ticket, kind: string}]\noutputs: [{name: queue, kind: string}]\nheed:\n  examples: {from: rows.jsonl}\n---\n"
    mine.write_text(head + "system:\n# Task\nSort.\n# Examples {# slot=examples #}\n\nuser:\n{{ ticket }}")
    assert [(shot.values["ticket"], shot.output) for shot in load(mine).shots] == [("a", "x"), ("b", "y")]
    assert load(mine).shots[0].source.endswith("rows.jsonl:1")
    (tmp_path / "rows.jsonl").write_text('{"ticket": "a"}\n')
    with pytest.raises(HeedError, match="no answer"):
        load(mine)


def test_names_and_paths(tmp_path: Path) -> None:
    assert load("ticket-triage").name == load("heed:ticket-triage").name == "ticket-triage"
    for name in ("ticket-triag", tmp_path / "none.prompty", tmp_path):
        with pytest.raises(HeedError):
            load(name)
    (tmp_path / "bytes.prompty").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(HeedError, match="UTF-8"):
        load(tmp_path / "bytes.prompty")
    (tmp_path / "bom.prompty").write_bytes(b"\xef\xbb\xbf---\r\nname: b\r\n---\r\nsystem:\r\n# Task\r\nSort.\r\n")
    assert load(tmp_path / "bom.prompty").block("task").text == "Sort."


@pytest.mark.parametrize("name", library.names())
def test_what_is_written_reads_back_the_same(name: str) -> None:
    found = load(name)
    text = write(found)
    assert parse(text, found.file) == found
    assert write(parse(text, found.file)) == text


WORDS = st.text(alphabet=st.sampled_from("abc XYZ.,:;-#*'\"\n{}<>/é🙂"), max_size=40)


@settings(max_examples=150, deadline=None)
@given(text=WORDS, kind=st.sampled_from(sorted(KINDS)), title=st.sampled_from(["", "Odd title", "Task", "Rules"]))
def test_any_text_is_written_and_read_back_or_refused(text: str, kind: str, title: str) -> None:
    """Never written so that it would read as something else."""
    found = parse(PLAIN).with_block(Block("extra", kind, text, title))
    try:
        written = write(found)
    except HeedError:
        return
    assert parse(written) == found


def test_edits_leave_the_original_as_it_was() -> None:
    found = load("ticket-triage")
    before = write(found)
    shorter = found.without("role", "fallback")
    assert "role" not in shorter.ids
    assert found.with_variant("role", "short").block("role").text == "You route tickets."
    assert found.with_text("task", "Sort.\n\n").block("task").text == "Sort."
    more = found.with_block(Block("tone", "tone", "Plain words.", "Tone"))
    assert more.ids.index("tone") == more.ids.index("rules") + 1
    assert found.with_block(Block("x", "tone", "P."), after="role").ids[1] == "x"
    moved = found.ordered(["fallback", "role"])
    assert moved.ids.index("fallback") == 0
    assert write(found) == before
    for wrong in (lambda: found.without("rol"), lambda: found.with_variant("role", "clark"), lambda: found.block("")):
        with pytest.raises(HeedError):
            wrong()
    lonely = parse("user:\nx").with_block(Block("task", "task", "Sort.", "Task"))
    assert [(one.id, one.role, one.turn) for one in lonely.blocks] == [("task", "system", 0), ("data", "user", 1)]


def test_load_as_far_gives_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "f.prompty"
    path.write_text("system:\n# Constrants\n- a\n# Task\nSort it.\n")
    loaded = load_as_far(path)
    assert loaded.instruction.ids == ("constrants", "task")
    assert [fault.rule for fault in loaded.faults] == ["HD100"]


def test_a_file_says_how_it_is_laid_out_and_an_option_says_otherwise() -> None:
    text = SOURCE_OF_LAYOUT
    one = parse(text)
    assert (one.placement, one.repeat, one.turns, one.data_first) == ("user", "all", False, True)
    assert parse(write(one)) == one
    assert "layout" not in write(replace(one, placement="system", repeat="marked", data_first=False))
    (only,) = compile_(one, {"ticket": "Help!"}).messages
    assert only.role == "user"
    assert only.content.index("Help!") < only.content.index("Choose a queue.")
    assert only.content.count("Choose a queue.") == 2
    told = compile_(one, {"ticket": "Help!"}, layout=Layout(placement="system", repeat="none")).messages
    assert [turn.role for turn in told] == ["system", "user"]
    assert told[1].content == "Help!"


def test_what_a_layout_says_a_file_can_hold() -> None:
    one = parse(SOURCE_OF_LAYOUT.replace("layout: {placement: user, repeat: all, data_first: true}", ""))
    for layout in (
        Layout(notation="xml", placement="user"),
        Layout(placement="user", data_first=True, repeat="all"),
        Layout(notation="plain", repeat="none", turns=True),
        Layout(),
    ):
        held = parse(write(kept(one, layout)))
        assert compile_(held, {"ticket": "a"}).messages == compile_(one, {"ticket": "a"}, layout=layout).messages


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{placement: usr}", "placement: system or user"),
        ("{turns: 1}", "turns: true or false"),
        ("{turns: [true]}", "turns: true or false"),
        ("{repeat: twice}", "repeat: marked or none or all"),
        ("{data-first: true}", "did you mean 'data_first'?"),
    ],
)
def test_a_layout_that_is_none_is_told_with_its_line(given: str, said: str) -> None:
    text = SOURCE_OF_LAYOUT.replace("{placement: user, repeat: all, data_first: true}", given)
    with pytest.raises(HeedError) as refused:
        parse(text)
    (problem,) = refused.value.problems
    assert said in problem.mend
    assert problem.where.endswith(":5")


SOURCE_OF_LAYOUT = """---
name: laid
inputs: [{name: ticket, kind: string, required: true}]
heed:
  layout: {placement: user, repeat: all, data_first: true}
  trust: {ticket: data}
---
system:
# Task
Choose a queue.

user:
{{ ticket }}
"""
