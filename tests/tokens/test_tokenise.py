from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Example, Message
from heedlm.templates.chat import load_template
from heedlm.tokens.store import open_split
from heedlm.tokens.tokenise import Limits, tokenise
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY

TOKENIZER = train_tokenizer(TEXTS, VOCABULARY)
CHATML = load_template("chatml", TOKENIZER)
LIMITS = Limits(max_tokens=200, overflow="drop", learn_reasoning=True, replay_share=0.25, seed=0)


def rows(count: int, text: str = "Say") -> list[Example]:
    return [
        Example(f"r{n}", (Message("user", f"{text} {n}."), Message("assistant", f"It is {n}.")), f"rows.jsonl:{n + 1}")
        for n in range(count)
    ]


def make(folder: Path, said: list[str] | None = None, **changed: object) -> dict[str, object]:
    inputs: dict[str, object] = {
        "template": CHATML, "tokenizer": TOKENIZER, "splits": {"train": rows(8), "val": rows(2, "Name")},
        "documents": [f"Ship {n} went to sea." for n in range(50)], "limits": LIMITS, **changed,
    }  # fmt: skip
    return tokenise(folder, say=(said if said is not None else []).append, **inputs)  # type: ignore[arg-type]


def test_splits_and_replay_are_stored_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    index = make(tmp_path / "t", said)
    train, replay = open_split(tmp_path / "t", "train"), open_split(tmp_path / "t", "replay")
    assert train is not None
    assert replay is not None
    assert len(train) == 8
    tokens = {name: sum(len(one.ids) for one in split) for name, split in (("train", train), ("replay", replay))}
    assert 0.25 <= tokens["replay"] / sum(tokens.values()) <= 0.3
    assert index["counts"]["train"]["tokens"] == tokens["train"]  # type: ignore[index]
    assert any("every row proved" in line for line in said)
    assert index["template"]["stop_ids"]  # type: ignore[index]


def test_nothing_changed_is_a_hit_and_each_change_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    make(folder)
    before = (folder / "index.json").stat().st_mtime_ns
    said: list[str] = []
    make(folder, said)
    assert any("as before" in line for line in said)
    assert (folder / "index.json").stat().st_mtime_ns == before
    changes: dict[str, dict[str, object]] = {
        "the rows": {"splits": {"train": rows(9)}},
        "the limits": {"limits": replace(LIMITS, max_tokens=100)},
        "the chat template": {"template": load_template("alpaca", TOKENIZER)},
        "the documents to replay": {"documents": ["Other."]},
        "the tokenizer": {"tokenizer": train_tokenizer(TEXTS, VOCABULARY - 5)},
    }
    for name, change in changes.items():
        make(folder)
        said.clear()
        make(folder, said, **change)
        assert any(f"made again, {name}" in line for line in said), (name, said)


def test_replay_that_does_not_reach_is_all_there_is(tmp_path: Path) -> None:
    said: list[str] = []
    index = make(tmp_path / "t", said, documents=["One."])
    assert any("all there is" in line for line in said)
    assert index["counts"]["replay"]["rows"] == 1  # type: ignore[index]


def test_nothing_left_or_nothing_learned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="nothing to learn from"):
        make(tmp_path / "t", splits={"train": rows(3)}, limits=replace(LIMITS, max_tokens=5))
    with pytest.raises(HeedError, match="nothing to learn from"):
        make(tmp_path / "t", splits={"train": []})
    assert not (tmp_path / "t").exists()
