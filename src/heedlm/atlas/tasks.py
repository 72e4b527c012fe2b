"""The instruction rows of the built-in world, as ordinary files that go through the same street as a user's."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.atlas import corpus, papers, questions
from heedlm.atlas.world import Split
from heedlm.runs import write_text

# Many rows, each seen once: 5,500 rows three times over were learnt by heart (validation rose) where these are not.
TRAIN_ROWS = 22_500
GEOGRAPHY_SHARE = 0.54
REPLAY_DOCUMENTS = 2_000
# A little of all that the base has read (recipes/atlas_base_desks.yaml): a skill that no page keeps awake goes first.
REPLAY_MIX = {"geography": 0.36, "papers": 0.37, "figures": 0.03, "forms": 0.08, "briefs": 0.04, "desks": 0.12}


class Files(NamedTuple):
    """What `write_files` wrote: rows to tune on, rows of held-out groups to test on, plain documents to replay."""

    train: Path
    test: Path
    replay: Path


def rows(split: Split, seed: int, total: int = TRAIN_ROWS) -> Iterator[dict[str, Any]]:
    """Rows of every task. total: train rows; the test rows are a fixed set of held-out groups."""
    geography = round(total * GEOGRAPHY_SHARE)
    yield from questions.rows(split, random.Random(f"{seed}/questions/{split}"), geography)
    yield from papers.rows(split, random.Random(f"{seed}/papers/{split}"), total - geography if split == "train" else 0)


def write_files(folder: Path, seed: int, total: int = TRAIN_ROWS) -> Files:
    """train.jsonl, test.jsonl and replay.jsonl in `folder`, the same bytes for the same seed."""
    files = Files(folder / "train.jsonl", folder / "test.jsonl", folder / "replay.jsonl")
    write_text(files.train, _lines(rows("train", seed, total)))
    write_text(files.test, _lines(rows("test", seed)))
    replay = corpus.texts(f"{seed}/replay", REPLAY_DOCUMENTS, REPLAY_MIX)
    write_text(files.replay, _lines({"text": text} for text in replay))
    return files


def held_out_documents(count: int = 60) -> list[str]:
    """Corpus text that neither pretraining nor replay drew: to measure what tuning makes the model forget."""
    return corpus.texts("held out", count)


def _lines(values: Iterator[dict[str, Any]]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
