import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Example, Message
from heedlm.templates.chat import load_template
from heedlm.tokens.mixture import Mixture, Portion
from heedlm.tokens.store import open_split, read_index
from heedlm.tokens.tokenise import Limits, _hash_of_rows, tokenise
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


def taken(folder: Path) -> Counter[int]:
    """How often each row of the training split comes in an epoch."""
    train = open_split(folder, "train")
    assert train is not None
    return Counter(train.row_of(index) for index in range(len(train)))


def two_sources(count: int = 8) -> dict[str, list[Example]]:
    other = [replace(one, id=f"o{n}", source=f"set/other.jsonl:{n + 1}") for n, one in enumerate(rows(4, "Tell"))]
    return {"train": [*rows(count), *other], "val": rows(2, "Name")}


def test_the_mixture_says_how_often_a_row_comes_and_what_is_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    mixture = Mixture({"rows.jsonl": Portion(cap=3), "set": Portion(epochs=2.5)}, {"set/other.jsonl": "set"})
    index: Any = make(tmp_path / "t", said, splits=two_sources(), documents=[], mixture=mixture)
    times = taken(tmp_path / "t")
    assert sorted(times[row] for row in range(8)) == [0] * 5 + [1] * 3
    assert sorted(times[row] for row in range(8, 12)) == [2, 2, 3, 3]
    train = open_split(tmp_path / "t", "train")
    assert train is not None
    assert index["counts"]["train"] | {"sequences": 13, "rows": 7, "left_out": 5} == index["counts"]["train"]
    assert index["counts"]["train"]["tokens"] == sum(train.lengths()) == sum(len(one.ids) for one in train)
    assert index["counts"]["train"]["learned_tokens"] == sum(w > 0 for one in train for w in one.weights)
    assert any("5 left out by the mixture" in line for line in said)
    assert any(line.startswith("  set: 4 of 4 rows, 10 with repeats") for line in said)
    again: list[str] = []
    make(tmp_path / "t", again, splits=two_sources(), documents=[], mixture=mixture)
    assert "as before" in again[0]
    assert again[1:] == said  # a second run tells the same


def test_replay_keeps_its_share_of_what_the_mixture_takes(tmp_path: Path) -> None:
    full: Any = make(tmp_path / "a")
    half: Any = make(tmp_path / "b", mixture=Mixture({"rows.jsonl": Portion(cap=4)}))
    assert half["counts"]["replay"]["wanted"] == pytest.approx(full["counts"]["replay"]["wanted"] / 2, rel=0.1)


def test_a_changed_mixture_is_a_miss_that_is_named_and_the_same_one_is_not(tmp_path: Path) -> None:
    folder, said = tmp_path / "t", list[str]()
    few, more = (Mixture({"rows.jsonl": Portion(cap=cap)}) for cap in (3, 5))
    make(folder)
    key = read_index(folder)["key"]
    for mixture in (few, more, Mixture()):
        said.clear()
        make(folder, said, mixture=mixture)
        assert "tokens: made again, the mixture changed" in said
        said.clear()
        make(folder, said, mixture=mixture)
        assert "as before" in said[0]
    assert read_index(folder)["key"] == key  # no mixture: the store of a run begun before there were any
    with pytest.raises(HeedError, match="the mixture changed"):
        make(folder, mixture=few, frozen=True)
    assert set(taken(folder)) == set(range(8))


def test_a_larger_cap_keeps_the_rows_of_a_smaller_one_and_other_rows_move_none(tmp_path: Path) -> None:
    seen = []
    for cap in (2, 4, 7):
        make(tmp_path / "t", mixture=Mixture({"rows.jsonl": Portion(cap=cap)}), splits=two_sources(), documents=[])
        seen.append({row for row in taken(tmp_path / "t") if row < 8})
    assert seen[0] < seen[1] < seen[2]
    make(tmp_path / "t", mixture=Mixture({"rows.jsonl": Portion(cap=4)}), documents=[])
    assert set(taken(tmp_path / "t")) == seen[1]


def test_rows_too_long_are_not_among_those_that_are_drawn(tmp_path: Path) -> None:
    long = replace(rows(1)[0], id="long", messages=(Message("user", "Say " * 300), Message("assistant", "No.")))
    mixture = Mixture({"rows.jsonl": Portion(cap=8)})
    index: Any = make(tmp_path / "t", splits={"train": [*rows(4), long, *rows(9)[4:]]}, mixture=mixture, documents=[])
    account = index["sources"]["rows.jsonl"]
    assert (account["rows"], account["too_long"], account["seen"]) == (9, 1, 8)
    assert 4 not in taken(tmp_path / "t")


def test_pages_stand_beside_the_arrays(tmp_path: Path) -> None:
    make(tmp_path / "t", pages=lambda index: {"card.md": f"{len(index['sources'])} source\n"})
    assert (tmp_path / "t" / "card.md").read_text() == "1 source\n"


def test_rows_encoded_in_parts_give_the_same_store_and_all_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = two_sources()
    make(tmp_path / "whole", splits=splits)
    monkeypatch.setattr("heedlm.tokens.tokenise.CHUNK", 5)
    make(tmp_path / "parts", splits=splits)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes(), path.name
    with pytest.raises(HeedError) as caught:
        make(tmp_path / "t", splits=splits, limits=replace(LIMITS, max_tokens=5, overflow="refuse"))
    assert len(caught.value.problems) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


@pytest.mark.parametrize("splits", [{}, {"train": []}, {"val": rows(1), "train": rows(2)}, two_sources()])
def test_the_hash_of_rows_is_that_of_stores_made_before(splits: dict[str, list[Example]]) -> None:
    """It was taken of one long text; a run begun then goes on."""
    assert _hash_of_rows(splits) == hashlib.sha256(repr(sorted(splits.items())).encode()).hexdigest()


def test_pieces_made_side_by_side_are_what_one_piece_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cutting = train_tokenizer(TEXTS, VOCABULARY)
    cutting.backend_tokenizer.enable_truncation(4)  # as some files of tokenizers say
    cutting.backend_tokenizer.enable_padding()
    monkeypatch.setattr("heedlm.tokens.tokenise.CHUNK", 3)
    make(tmp_path / "pieces", tokenizer=cutting, splits={"train": rows(50)})
    monkeypatch.undo()
    make(tmp_path / "whole", splits={"train": rows(50)})
    one, other = (open_split(tmp_path / name, "train") for name in ("pieces", "whole"))
    assert one is not None
    assert other is not None
    assert [sequence.ids for sequence in one] == [sequence.ids for sequence in other]
    assert [sequence.weights for sequence in one] == [sequence.weights for sequence in other]
