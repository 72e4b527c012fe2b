"""Rows for the benchmark of data preparation: made by a seed, nearly all distinct, planted items labelled.

Text is walked word by word through public instruction files and the built-in corpus: after each word comes one that
followed it there. It means nothing, and repeats words and short sequences about as often as real text does.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rows import FILES, public_data

FILLERS = ("quickly", "gently", "rather", "often", "simply", "indeed", "perhaps", "surely", "slowly", "again")
NEGATIONS = frozenset(("not", "no", "never", "nor", "without", "cannot"))
OPENINGS = ("Explain", "Describe", "Summarise", "Rewrite", "Continue", "Compare", "Answer", "List", "Discuss", "Edit")
SHARES = {"near": 0.03, "copy": 0.01, "fact": 0.01}
ITEMS = {"short": 200, "middle": 300, "long": 500}  # of the evaluation, by words: 2 to 4, 5 to 19, 20 and more


class Made(NamedTuple):
    """counts: rows by label.   distinct: share of rows with a text of their own.   sha: of the file.   source: of the text."""

    rows: Path
    items: Path
    counts: dict[str, int]
    distinct: float
    sha: str
    source: str


class Walk:
    """Endless text: each word is followed by one that followed it in the source."""

    def __init__(self, texts: list[str], rng: random.Random) -> None:
        self._next: dict[str, list[str]] = {}
        self._starts: list[str] = []
        self._rng = rng
        for text in texts:
            found = text.split()
            self._starts += found[:1]
            for word, after in itertools.pairwise(found):
                self._next.setdefault(word, []).append(after)

    def words(self, count: int) -> list[str]:
        """`count` words."""
        out = [self._rng.choice(self._starts)]
        while len(out) < count:
            followers = self._next.get(out[-1])
            out.append(self._rng.choice(followers or self._starts))
        return out

    def text(self, shortest: int, longest: int) -> str:
        """Some sentences of so many words together."""
        found = self.words(self._rng.randint(shortest, longest))
        return " ".join(found).rstrip(".,;:") + "."


def write(folder: Path, count: int, seed: int) -> Made:
    """`count` Alpaca-shaped rows and an evaluation file, the same bytes for the same seed and sources."""
    rng = random.Random(f"data/{seed}/{count}")
    texts, source = _texts()
    walk = Walk(texts, rng)
    items = _items(walk, rng)
    folder.mkdir(parents=True, exist_ok=True)
    rows, evaluation = folder / "rows.jsonl", folder / "items.jsonl"
    evaluation.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a, _ in items), "utf8")
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    whole = hashlib.sha256(evaluation.read_bytes())
    with rows.open("wb") as file:
        for number, row in enumerate(_rows(walk, rng, items, count)):
            counts[row["label"]["kind"]] += 1
            text = "\x1f".join((row["instruction"], row["input"], row["output"]))
            seen.add(hashlib.blake2b(text.encode(), digest_size=8).digest())
            line = json.dumps({"id": f"row-{number}", **row}, ensure_ascii=False).encode() + b"\n"
            whole.update(line)
            file.write(line)
    total = counts.total()
    return Made(rows, evaluation, dict(counts), round(len(seen) / total, 4), whole.hexdigest()[:16], source)


def _texts() -> tuple[list[str], str]:
    from heedlm.atlas import corpus

    texts = corpus.texts("benchmark data", 3000)
    data = public_data()
    if data is None:
        return texts, "atlas"
    for name in FILES:
        for row in json.loads((data / name).read_text("utf8")):
            texts += [row["instruction"], row["output"]]
    return texts, "atlas and public instruction files"


def _items(walk: Walk, rng: random.Random) -> list[tuple[str, str, str]]:
    """Question, answer and size of each item; no two ask the same."""
    bounds = {"short": (2, 4), "middle": (5, 19), "long": (20, 60)}
    found: dict[str, tuple[str, str, str]] = {}
    for size, number in ITEMS.items():
        target = len(found) + number
        while len(found) < target:
            question = walk.text(*bounds[size])
            found.setdefault(question, (question, walk.text(1, 30), size))
    items = list(found.values())
    rng.shuffle(items)
    return items


def _rows(walk: Walk, rng: random.Random, items: list[tuple[str, str, str]], count: int) -> Iterator[dict[str, Any]]:
    """Base rows, with planted ones let in behind them."""
    waiting: list[tuple[int, int, dict[str, Any]]] = []  # at which row, in which order, what
    at = sorted(rng.randrange(count) for _ in items)
    for place, (question, answer, size) in zip(at, items, strict=True):
        planted = _planted_item(question, answer, size, rng)
        if planted is not None:
            heapq.heappush(waiting, (place, len(waiting), planted))
    number = base = 0
    while number < count:
        if waiting and waiting[0][0] <= number:
            yield heapq.heappop(waiting)[2]
        else:
            row = _base(walk, rng, base)
            base += 1
            yield row
            for kind, share in SHARES.items():
                if rng.random() < share:
                    made = _changed(row, kind, rng)
                    if made is not None:
                        heapq.heappush(waiting, (number + rng.randint(1, 1 + count // 20), number, made))
        number += 1


def _base(walk: Walk, rng: random.Random, number: int) -> dict[str, Any]:
    instruction = f"{rng.choice(OPENINGS)} {walk.text(6, 24)}"
    given = walk.text(10, 40) if rng.random() < 0.3 else ""
    output = walk.text(1, 15) if rng.random() < 0.4 else walk.text(15, 110)
    label = {"kind": "base", "number": number}
    return {"instruction": instruction, "input": given, "output": output, "label": label}


def _changed(row: dict[str, Any], kind: str, rng: random.Random) -> dict[str, Any] | None:
    """A copy, a near-duplicate or a row with another fact, made of a base row; None where it is too short for that."""
    label = {"kind": kind, "of": row["label"]["number"]}
    if kind == "copy":
        return {**row, "label": label}
    if len(row["output"].split()) < 40:
        return None
    if kind == "fact":
        words = row["output"].split()
        words.insert(len(words) // 2, rng.choice(("not", str(rng.randint(1000, 9999)))))
        return {**row, "output": " ".join(words), "label": label}
    output = edited(row["output"], max(1, len(row["output"].split()) // 60), rng)
    asked = edited(row["instruction"], 1, rng) if len(row["instruction"].split()) > 20 and rng.random() < 0.5 else None
    if output is None:
        return None
    if rng.random() < 0.3:
        output = output.replace(" ", "  ", 3).replace(",", "")
    return {**row, "instruction": asked or row["instruction"], "output": output, "label": label}


def edited(text: str, changes: int, rng: random.Random, *, anywhere: bool = False) -> str | None:
    """The text with single words put in, taken out or replaced, none of them a number, a name or a negation.

    anywhere: at any word.   None where there is no such word.
    """
    words = text.split()
    for _ in range(changes):
        plain = [
            place
            for place in range(1, len(words) - 1)
            if anywhere or all(w.isalpha() and w.islower() and w not in NEGATIONS for w in words[place - 1 : place + 2])
        ]
        if not plain:
            return None
        place, how = rng.choice(plain), rng.choice(("put in", "take out", "replace"))
        words[place : place + (how != "put in")] = [] if how == "take out" else [rng.choice(FILLERS)]
    return " ".join(words)


def _planted_item(question: str, answer: str, size: str, rng: random.Random) -> dict[str, Any] | None:
    """A row that holds an item: as it is, or, of the long ones, with one word changed; half of the items stay unseen."""
    kind = rng.choice(("unseen", "exact"))
    if size == "long":
        kind = rng.choice(("unseen", "exact", "edit", "edit"))
    if kind == "unseen":
        return None
    text = question if kind == "exact" else edited(question, 1, rng, anywhere=True)
    assert text is not None
    wraps = (("", ""), ("Please answer this.\n", ""), ("Question: ", "\nThink first."), ("Solve the task.\n\n", ""))
    before, behind = rng.choice(wraps)
    label = {"kind": kind, "of": question, "size": size}
    given = rng.choice((answer, "I would rather talk about the weather of today."))
    return {"instruction": f"{before}{text}{behind}", "input": "", "output": given, "label": label}
