"""Solved examples come from train rows of the same wording, never from the row's own group, never from held-out rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from heedlm.data.prepare import Source, prepare
from heedlm.data.prompts.apply import Prompting
from heedlm.data.prompts.shots import FRAMES, with_shots
from heedlm.data.prompts.template import Template
from heedlm.messages import Example, Message

WORDS = ["sparrow", "heron", "salmon", "trout", "falcon", "carp", "owl", "pike", "robin", "eel", "stork", "perch"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "rows.jsonl"
    rows = [
        {"id": number, "text": f"Note {number * 7919 % 1000} of {WORDS[number % 12]}, {WORDS[number % 11]}.", "label": number % 2}
        for number in range(240)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def split(out: Path, name: str) -> list[dict[str, Any]]:
    path = out / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def make(table: Path, out: Path, topic: Template, val: Any = 0.2, test: Any = 0.2, **options: Any) -> Path:
    how = Prompting((topic,), seed=options.pop("seed", 0), few_shot=4, **options)
    prepare([Source(table, {}, how)], out, val=val, test=test, seed=0)
    return out


def test_examples_are_train_rows_and_never_the_rows_own(table: Path, tmp_path: Path, topic: Template) -> None:
    out = make(table, tmp_path / "out", topic, per_row=2)
    by_id = {row["id"]: (side, row) for side in ("train", "val", "test") for row in split(out, side)}
    counted = dict.fromkeys(("train", "val", "test"), 0)
    numbers = set()
    for name, (side, row) in by_id.items():
        shots = row["meta"]["prompt"].get("shots", [])
        numbers.add(len(shots))
        counted[side] += bool(shots)
        assert len({by_id[shot][1]["group"] for shot in shots} | {row["group"]}) == len(shots) + 1, name
        for shot in shots:
            assert by_id[shot][0] == "train"
            assert by_id[shot][1]["meta"]["prompt"]["wording"] == row["meta"]["prompt"]["wording"]
    assert all(counted.values())
    assert numbers == {0, 1, 2, 3, 4}


def test_no_held_out_text_stands_in_train(table: Path, tmp_path: Path, topic: Template) -> None:
    out = make(table, tmp_path / "out", topic)
    given = [json.loads(line) for line in table.read_text().splitlines()]
    held = {row["id"].split("-")[0] for side in ("val", "test") for row in split(out, side)}
    texts = [row["text"] for row in given if str(row["id"]) in held]
    train = (out / "train.jsonl").read_text()
    assert texts
    assert not [text for text in texts if text in train]
    assert json.loads((out / "card.json").read_text())["proof"]["groups_on_two_sides"] == 0


def test_the_same_every_time_and_few_move_when_rows_are_added(table: Path, tmp_path: Path, topic: Template) -> None:
    one, again = (make(table, tmp_path / name, topic) for name in ("one", "again"))
    assert (one / "train.jsonl").read_bytes() == (again / "train.jsonl").read_bytes()
    other = make(table, tmp_path / "other", topic, seed=1)
    assert (one / "train.jsonl").read_bytes() != (other / "train.jsonl").read_bytes()
    more = tmp_path / "rows.jsonl"
    extra = {"id": "new", "text": "A new note of a kingfisher by the stream.", "label": 1}
    more.write_text(json.dumps(extra) + "\n" + table.read_text())
    shots = [
        {row["id"]: row["meta"]["prompt"].get("shots") for row in split(out, "train")}
        for out in (one, make(more, tmp_path / "more", topic))
    ]
    assert sum(shots[1].get(name) != chosen for name, chosen in shots[0].items()) < 12


def test_files_of_their_own_are_asked_once_and_forwards(table: Path, tmp_path: Path, topic: Template) -> None:
    lines = table.read_text().splitlines(keepends=True)
    (tmp_path / "held.jsonl").write_text("".join(lines[:30]))
    (tmp_path / "train.jsonl").write_text("".join(lines[30:]))
    out = make(
        tmp_path / "train.jsonl", tmp_path / "out", topic, None, tmp_path / "held.jsonl", inverted=0.5, per_row=1
    )
    test = split(out, "test")
    assert len(test) == 30
    assert {row["meta"]["task"] for row in test} == {"topic"}
    assert {row["meta"]["task"] for row in split(out, "train")} == {"topic", "topic-inverted"}
    train = {row["id"] for row in split(out, "train")}
    shown = [shot for row in test for shot in row["meta"]["prompt"].get("shots", [])]
    assert shown
    assert set(shown) <= train


def test_inverted_rows_of_held_out_groups_are_left_out_and_counted(
    table: Path, tmp_path: Path, topic: Template
) -> None:
    out = make(table, tmp_path / "out", topic, inverted=0.5)
    card = json.loads((out / "card.json").read_text())
    left = card["dropped"]["inverted"]["count"]
    assert left > 20
    assert card["rows_in"] == 240
    assert card["kept"] == 240 - sum(entry["count"] for entry in card["dropped"].values())
    assert not [row for side in ("val", "test") for row in split(out, side) if row["meta"]["task"] != "topic"]
    assert card["proof"]["prompts_on_two_sides"] == 0


def test_lengths_in_the_card_count_the_examples(table: Path, tmp_path: Path, topic: Template) -> None:
    out = make(table, tmp_path / "out", topic, 0.0, 0.0)
    card = json.loads((out / "card.json").read_text())
    longest = max(
        sum(len(turn["content"]) for turn in row["messages"] if turn["role"] != "assistant")
        for row in split(out, "train")
    )
    assert card["splits"]["train"]["lengths"]["prompt_characters"]["max"] == longest


def example(name: str, ask: str, answer: str, system: str = "") -> Example:
    head = (Message("system", system),) if system else ()
    meta = {"prompt": {"template": "t", "wording": "1"}}
    return Example(name, (*head, Message("user", ask), Message("assistant", answer)), "f:1", meta=meta)


def test_as_turns_or_in_one_text_and_only_the_last_answer_is_taught() -> None:
    shots = [example("s1", "Ask {1}", "Say {ask} 1", "Be brief."), example("s2", "Ask 2", "Say 2")]
    seen = set()
    for seed in range(80):
        shown = with_shots(example("x", "Ask {x}", "Say x", "Be brief."), shots, random.Random(seed))
        roles = [message.role for message in shown.messages]
        assert roles[0] == "system"
        assert shown.messages[-1] == Message("assistant", "Say x")
        taught = [m.content for m in shown.messages if m.role == "assistant" and m.weight != 0.0]
        assert taught == ["Say x"]
        said = "\n".join(message.content for message in shown.messages[1:])
        for text in ("Ask {1}", "Say {ask} 1", "Ask 2", "Say 2", "Ask {x}", "Say x"):
            assert said.count(text) == 1
        assert said.index("Ask {1}") < said.index("Ask 2") < said.index("Ask {x}")
        assert shown.meta["prompt"]["shots"] == ["s1", "s2"]
        seen.add(said)
    assert len(seen) == len(FRAMES) + 1
