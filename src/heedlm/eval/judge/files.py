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
from heedlm.runs import write_json, write_text


def write_judged(report: JudgeReport, verdicts: Sequence[PairVerdict | PointsVerdict], folder: Path) -> list[Path]:
    """report.json, report.md, report.html and verdicts.jsonl in a folder, each written whole or not at all."""
    paths = [folder / name for name in ("report.json", "report.md", "report.html", "verdicts.jsonl")]
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
