from __future__ import annotations

import random
from collections.abc import Sequence

from heedlm.eval.arms import (
    FRAMES,
    FewShot,
    bare,
    fair,
    few_shot_ask,
    history,
    instruct,
    pick_frames,
    pick_shots,
    wrong_format,
)
from heedlm.eval.task import tasks_from
from heedlm.messages import Example, Message, Request, Sampling

from .scripted import ScriptedChat, example

QA = FRAMES[0]
CAPITALS = {
    "France": "Paris",
    "Norway": "Oslo",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Cuba": "Havana",
    "Chad": "N'Djamena",
}


def _rows(**changes: str) -> list[Example]:
    return [
        example(
            f"What is the capital of {land}?", f"It is {city}.", id=f"facts-{land}", group=f"country:{land}", **changes
        )
        for land, city in CAPITALS.items()
    ]


TALK = Example(
    id="t",
    source="rows.jsonl:9",
    messages=(
        Message("system", "Be brief."),
        Message("user", "Capital of Peru?"),
        Message("assistant", "Lima."),
        Message("user", "And its continent?"),
        Message("assistant", "South America."),
    ),
    meta={"task": "chat", "kind": "chat"},
)


def test_no_arm_ever_sees_the_answer() -> None:
    task = tasks_from(_rows())[0]
    for row in task.examples:
        city = row.messages[-1].content
        shots = {task.name: FewShot(QA, tuple(other for other in task.examples if other.id != row.id))}
        for build in (bare, instruct, fair(shots), wrong_format(lambda turns: turns[-1].content)):
            request = build(task, row).request
            seen = request.text if request.text is not None else " ".join(turn.content for turn in request.messages)
            assert city not in seen


def test_bare_is_the_words_and_nothing_else() -> None:
    task = tasks_from([TALK])[0]
    assert bare(task, TALK).request.text == "Be brief.\n\nCapital of Peru?\n\nLima.\n\nAnd its continent?"
    assert bare(task, TALK).stop == ()


def test_instruct_keeps_the_turns_before_the_last_answer() -> None:
    assert instruct(tasks_from([TALK])[0], TALK).request == Request(messages=TALK.messages[:-1])
    assert history(TALK)[-1].role == "user"


def test_a_frame_writes_shots_then_the_item_and_stops_at_the_next_one() -> None:
    rows = _rows()
    ask = few_shot_ask(QA, rows[:2], rows[2])
    assert ask.request.text == (
        "Q: What is the capital of France?\nA: It is Paris.\n\nQ: What is the capital of Norway?\nA: It is Oslo.\n\n"
        "Q: What is the capital of Japan?\nA:"
    )
    assert ask.stop == ("\nQ:",)


def test_a_frame_writes_system_text_and_turns() -> None:
    ask = few_shot_ask(QA, [], TALK)
    assert ask.request.text == "Q: Be brief.\nCapital of Peru?\nA: Lima.\nQ: And its continent?\nA:"


def test_shots_are_left_out_until_the_text_fits() -> None:
    rows = _rows()
    longest = few_shot_ask(QA, rows[:3], rows[3]).request.text
    assert longest is not None
    for limit, kept in ((len(longest), 3), (len(longest) - 1, 2), (1, 0)):
        text = few_shot_ask(QA, rows[:3], rows[3], lambda t, limit=limit: len(t) <= limit).request.text
        assert text is not None
        assert text.count("\nA: ") == kept


def test_no_frame_ends_in_white_space_and_every_stop_begins_the_next_item() -> None:
    rows = _rows()
    for frame in FRAMES:
        ask = few_shot_ask(frame, rows[:3], rows[3])
        assert ask.request.text is not None
        assert ask.request.text == ask.request.text.rstrip()
        assert ask.request.text.count(frame.stop) == 3, frame.name


def test_shots_come_from_other_groups_than_the_test_and_from_as_many_as_there_are() -> None:
    rows = _rows()
    twice = [*rows[2:], *(example("Capital?", "x", id=f"again-{row.id}", group=row.group) for row in rows[2:])]
    task = tasks_from(rows[:2])[0]
    for seed in range(20):
        shots = pick_shots(task, [*rows, *twice], 4, random.Random(seed))
        assert len({shot.group for shot in shots}) == 4
        assert not {shot.group for shot in shots} & {row.group for row in rows[:2]}
    assert len(pick_shots(task, twice, 50, random.Random(0))) == 8
    assert pick_shots(task, [], 3, random.Random(0)) == ()


def test_the_frame_that_works_is_picked_without_seeing_the_test() -> None:
    rows = _rows()
    task = tasks_from(rows[:1])[0]

    def answer(request: Request) -> str:
        assert request.text is not None
        land = request.text.split("capital of ")[-1].split("?")[0]
        return f" It is {CAPITALS[land]}." if "Question: " in request.text else "Hm."

    chat = ScriptedChat(answer)
    picked = pick_frames(
        chat, [task], rows, Sampling(), random.Random(0), num_shots=2, num_items=3, limits={"facts": 9}
    )
    assert picked["facts"].frame.name == "Question/Answer"
    assert picked["facts"].score == 1.0
    assert len(picked["facts"].shots) == 2
    assert all("France" not in (request.text or "") for request in chat.asked)
    assert {sampling.max_tokens for sampling in chat.samplings} == {9}


def test_without_training_rows_the_first_frame_stands_alone() -> None:
    task = tasks_from(_rows())[0]
    picked = pick_frames(ScriptedChat(lambda request: ""), [task], [], Sampling(), random.Random(0))
    assert picked["facts"] == FewShot(FRAMES[0], (), 0.0)


def test_wrong_format_is_what_the_other_renderer_writes() -> None:
    def render(turns: Sequence[Message]) -> str:
        return "|".join(turn.role for turn in turns)

    assert wrong_format(render)(tasks_from([TALK])[0], TALK).request.text == "system|user|assistant|user"
