"""What a judge said, on disk: three reports, and a line for each verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from heedlm.eval.judge.asking import PairVerdict, PointsVerdict
from heedlm.eval.judge.page import to_html
from heedlm.eval.judge.report import VERSION, to_json, to_markdown
from heedlm.eval.judge.summary import JudgeReport
from heedlm.messages import JSON
from heedlm.runs import disk_errors, write_json, write_text

NAMES = ("report.json", "report.md", "report.html", "verdicts.jsonl")
EARLIER = "earlier"


def set_aside(report: JudgeReport, folder: Path) -> Path | None:
    """Move the report of another judge, or on another question, out of the way of this one; where it is now.

    One on the same question gives place: more budget, or more items, made this one of it.
    """
    try:
        there = json.loads((folder / NAMES[0]).read_text("utf8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        there = None
    if isinstance(there, dict) and not there.get("pairs") and not there.get("points"):
        return None  # nothing was judged: nothing is lost
    if _question(there) == _question(json.loads(json.dumps(to_json(report)))):
        return None
    number = 1
    while (place := folder / EARLIER / str(number)).exists():
        number += 1
    with disk_errors(place):
        place.mkdir(parents=True)
        for name in NAMES:
            if (folder / name).is_file():
                (folder / name).rename(place / name)
    return place


def _question(told: JSON) -> tuple[object, ...] | None:
    """Who judged what, and how; None where that cannot be read."""
    about = told.get("about") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(about, dict):
        return None
    of = (about.get("judge"), about.get("of"))
    return (*of, told.get("rubric"), told.get("reference"), bool(told.get("pairs")), bool(told.get("points")))


def write_judged(report: JudgeReport, verdicts: Sequence[PairVerdict | PointsVerdict], folder: Path) -> list[Path]:
    """report.json, report.md, report.html and verdicts.jsonl in a folder, each written whole or not at all."""
    paths = [folder / name for name in NAMES]
    write_json(paths[0], to_json(report))
    write_text(paths[1], to_markdown(report))
    write_text(paths[2], to_html(report, verdicts))
    write_text(paths[3], "".join(json.dumps(verdict_json(one), ensure_ascii=False) + "\n" for one in verdicts))
    return paths


def verdict_json(one: PairVerdict | PointsVerdict) -> dict[str, JSON]:
    """One line of verdicts.jsonl."""
    told: dict[str, JSON] = {"version": VERSION, "task": one.case.task, "id": one.case.id}
    if isinstance(one, PointsVerdict):
        return told | {
            "name": one.name,
            "points": one.points,
            "problem": one.problem,
            "said": one.said,
            "key": one.key,
        }
    winner = {"first": one.first, "second": one.second}.get(str(one.outcome), one.outcome)
    told |= {"first": one.first, "second": one.second, "winner": winner, "how": one.how}
    told |= {"orders": list(one.orders), "problems": list(one.problems)}
    return told | {"said": list(one.said), "keys": list(one.keys)}
