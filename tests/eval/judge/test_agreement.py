"""A judge against people: the share, Cohen's kappa, and what is wrong with a file of labels."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

import heedlm
from heedlm.errors import HeedError
from heedlm.eval.judge.agreement import cohen, kappa_interval
from tests.eval.judge.logs import by_truth, chat, evaluated, prefers
from tests.typed import Heed


def other(one: str, two: str) -> float:
    return float(one != two)


def squared(one: str, two: str) -> float:
    return float((int(one) - int(two)) ** 2)


def test_kappa_is_that_of_the_textbook() -> None:
    """20 both yes, 5 and 10 apart, 15 both no: observed 0.7, by luck 0.5."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen(pairs, other) == pytest.approx(0.4)
    assert cohen([("a", "a"), ("b", "b")], other) == 1.0
    assert cohen([("a", "b"), ("b", "a")], other) == -1.0
    assert cohen([("a", "a")] * 3, other) == 1.0


def test_weighted_kappa_forgives_neighbours() -> None:
    near = [("1", "1"), ("2", "3"), ("3", "3"), ("5", "4"), ("5", "5")]
    assert cohen(near, squared) > cohen(near, other) > 0
    # by hand: found (0+1+0+1+0)/5 = 0.4; by luck the mean of (i-j)^2 over 25 pairs of the margins
    ones, others = [1, 2, 3, 5, 5], [1, 3, 3, 4, 5]
    luck = sum((i - j) ** 2 for i in ones for j in others) / 25
    assert cohen(near, squared) == pytest.approx(1 - 0.4 / luck)


def test_the_interval_of_kappa_covers_the_truth() -> None:
    """People choose one of three alike; the judge says the same in 70 %, else one of the others: kappa 0.55."""
    chance, covered = random.Random(8), 0
    for run in range(200):
        both = []
        for n in range(40):
            label = chance.choice("abc")
            said = label if chance.random() < 0.7 else chance.choice([one for one in "abc" if one != label])
            both.append((label, said, str(n)))
        low, high = kappa_interval(both, other, run)
        covered += low <= 0.55 <= high
    assert 184 <= covered <= 199


def test_a_handful_of_labels_is_not_certain() -> None:
    alike = [(label, label, str(n)) for n, label in enumerate("ababa")]
    low, high = kappa_interval(alike, other)
    assert low < 0.5
    assert high == 1.0
    assert kappa_interval([("a", "a", str(n)) for n in range(9)], other) == (-1.0, 1.0)
    assert kappa_interval([("a", "b", "g"), ("b", "b", "g")], other) == (-1.0, 1.0)
    many = [(label, label, str(n)) for n, label in enumerate("ab" * 5000)]
    assert kappa_interval(many, other)[0] > 0.99


@pytest.fixture
def log(tmp_path: Path) -> str:
    replies = {"base": lambda n: f"No, {n}.", "instruct": lambda n: f"Answer {n}." if n % 2 else f"No, {n}."}
    return evaluated(tmp_path / "log", replies, n=20)


def labels(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_agreement_on_pairs(log: str, tmp_path: Path) -> None:
    rows = [{"id": f"facts-{n}", "winner": "instruct" if n % 2 and n != 1 else "tie"} for n in range(12)]
    done = heedlm.judge(of=log, by=chat(prefers(by_truth)), labels=labels(tmp_path / "l.jsonl", rows))  # type: ignore[arg-type]
    found = done.report.pairs[0].agreement
    assert found is not None
    assert (found.n, found.unread, found.share) == (12, 0, pytest.approx(11 / 12))
    assert found.share_low < found.share < found.share_high
    assert found.kappa == pytest.approx(1 - (1 / 12) / (1 - (5 * 6 + 7 * 6) / 144))
    assert found.kappa_low <= found.kappa <= found.kappa_high
    assert found.table == {"tie / tie": 6, "instruct / instruct": 5, "tie / instruct": 1}
    assert "Cohen's kappa 0.83" in done.files[1].read_text()
    assert "kappa" in done.files[2].read_text()


def test_a_verdict_that_is_missing_is_no_agreement(log: str, tmp_path: Path) -> None:
    rows = [{"id": f"facts-{n}", "winner": "instruct"} for n in (1, 3, 5)]
    path = labels(tmp_path / "l.jsonl", rows)  # type: ignore[arg-type]
    found = heedlm.judge(of=log, by=chat(lambda text: "Hm."), labels=path).report.pairs[0].agreement
    assert found is not None
    assert (found.n, found.unread) == (0, 3)


def test_agreement_on_points_is_weighted(log: str, tmp_path: Path) -> None:
    rows = [{"id": f"facts-{n}", "name": "instruct", "points": 5 if n % 2 else 2} for n in range(10)]
    path = labels(tmp_path / "l.csv", [])
    path.write_text("id,name,points\n" + "".join(f"{row['id']},{row['name']},{row['points']}\n" for row in rows))
    judge = chat(
        lambda text: f"<verdict>{4 if 'Answer 1' in text or 'Answer' in text.split('<answer>')[1] else 2}</verdict>"
    )
    found = heedlm.judge(of=log, by=judge, how="points", labels=path).report.points_agreement
    assert found is not None
    assert (found.n, found.share) == (10, 0.5)
    assert 0.7 < found.kappa < 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "facts-99", "winner": "tie"}, "no judged item 'facts-99'"),
        ({"id": "facts-1", "winner": "instuct"}, "did you mean 'instruct'"),
        ({"id": "facts-1"}, "a `winner` or `points`"),
        ({"id": "facts-1", "winner": "tie", "points": 3}, "a `winner` or `points`"),
        ({"id": "facts-1", "points": 3}, "Whose points"),
        ({"id": "facts-1", "name": "base", "points": 9}, "from 1 to 5"),
        ({"id": "facts-1", "name": "base", "points": "good"}, "from 1 to 5"),
        ({"id": "facts-1", "task": "other", "winner": "tie"}, "stands in facts"),
        ({"id": "facts-1", "first": "bse", "winner": "tie"}, "did you mean 'base'"),
    ],
)
def test_what_is_wrong_with_labels_is_told_before_anything_is_asked(
    log: str, tmp_path: Path, row: dict[str, object], said: str
) -> None:
    judge = chat(prefers(by_truth))
    with pytest.raises(HeedError) as caught:
        heedlm.judge(of=log, by=judge, labels=labels(tmp_path / "l.jsonl", [row]))
    assert said in str(caught.value)
    assert "l.jsonl:1" in str(caught.value)
    assert not judge.asked


def test_a_sheet_is_blind_and_read_again(heed: Heed, log: str, tmp_path: Path) -> None:
    sheet = tmp_path / "people.csv"
    code, out, err = heed("judge", log, "--sheet", sheet)
    assert code == 0, err
    assert out.startswith("10 pairs in ")  # the other ten have the same text twice
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["winner"] for row in rows} == {""}
    right = ["1" if row["reply_1"].startswith("Answer") else "2" for row in rows]
    assert set(right) == {"1", "2"}  # in either place
    for row, one in zip(rows[:8], right, strict=False):
        row["winner"] = one
    rows[8]["winner"] = "tie"
    with sheet.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    found = heedlm.judge(of=log, by=chat(prefers(by_truth)), labels=sheet).report.pairs[0].agreement
    assert found is not None
    assert (found.n, found.table) == (9, {"instruct / instruct": 8, "tie / instruct": 1})
    code, _, err = heed("judge", log, "--sheet", sheet)
    assert code == 2
    assert "somebody's work" in err


def test_a_sheet_that_nobody_has_filled_in_is_none(log: str, tmp_path: Path) -> None:
    sheet = tmp_path / "people.csv"
    assert 1 <= heedlm.label_sheet(of=log, out=sheet, items=12) <= 10
    with pytest.raises(HeedError, match="no label in it"):
        heedlm.judge(of=log, by=chat(prefers(by_truth)), labels=sheet)
    with pytest.raises(HeedError, match="two who replied"):
        heedlm.label_sheet(of=f"{log}#base", out=tmp_path / "other.csv")
    alike = evaluated(tmp_path / "alike", {"base": lambda n: "Yes.", "instruct": lambda n: "Yes."}, n=2)
    with pytest.raises(HeedError, match="said the same"):
        heedlm.label_sheet(of=alike, out=tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()
