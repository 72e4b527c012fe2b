"""What a judge said as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from heedlm.eval.html_parts import text as _text
from heedlm.eval.judge.asking import PairVerdict, PointsVerdict
from heedlm.eval.judge.report import (
    agreement_lines,
    headline,
    pair_lines,
    points_lines,
    points_row,
    rate_rows,
    shared_lines,
)
from heedlm.eval.judge.summary import JudgeReport, pair_caveats

MOST = 100  # verdicts on the page; verdicts.jsonl has all of them
_LONGEST = 2000  # characters of one text on the page
_LONG = 160  # characters from which a headline is set smaller
_PAIRS = ("task", "n", "can show", "won", "lost", "tied", "win rate", "95 % interval", "p, Holm")
_POINTS = ("reply of", "n", "points", "95 % interval", "difference", "95 % interval", "p")


def to_html(report: JudgeReport, verdicts: Sequence[PairVerdict | PointsVerdict]) -> str:
    """The whole page."""
    style = (files("heedlm.eval") / "page" / "report.css").read_text("utf-8")
    careful = any(pair_caveats(pair) for pair in report.pairs)
    looks = " ".join(["long"] * (len(headline(report)) > _LONG) + ["caveat"] * careful)
    mark = f' class="{looks}"' if looks else ""
    body = [
        f'<header><p class="eyebrow">heed judge: a model’s opinion, nothing of it verified</p>'
        f"<h1{mark}>{_text(headline(report))}</h1></header>"
    ]
    for pair in report.pairs:
        body.append(
            _section(f"{pair.second} against {pair.first}", _table(_PAIRS, rate_rows(pair)) + _list(pair_lines(pair)))
        )
    if report.points:
        rows = [f"{one.name}: {line}" for one in report.points for line in points_lines(one)]
        rows += agreement_lines(report.points_agreement)
        body.append(_section("Points", _table(_POINTS, map(points_row, report.points)) + _list(rows)))
    body.append(_section("What was asked", _list(shared_lines(report)) + f"<pre>{_text(report.rubric.criteria)}</pre>"))
    if verdicts:
        shown = "".join(map(_verdict, verdicts[:MOST]))
        more = f"The first {MOST} of {len(verdicts):,}; " if len(verdicts) > MOST else ""
        body.append(_section("Verdicts", f"<p class=lead>{more}all of them are in verdicts.jsonl.</p>{shown}"))
    body.append(_section("How to reproduce", _table(("", ""), ((name, value) for name, value in report.about.items()))))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(headline(report))}</title>\n<style>\n{style}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _verdict(one: PairVerdict | PointsVerdict) -> str:
    """A verdict to be opened: the replies, and what the judge said of them."""
    replies = one.case.replies
    if isinstance(one, PointsVerdict):
        result = f"{one.name}: {one.points} points" if one.points is not None else f"{one.name}: {one.problem}"
        shown, said = [(one.name, replies[one.name])], [("the judge", one.said)]
    else:
        winner = {"first": one.first, "second": one.second}.get(str(one.outcome), str(one.how))
        result = winner if one.outcome is not None else "; ".join(one.problems)
        shown, said = (
            [(name, replies[name]) for name in (one.first, one.second)],
            [(f"the judge, {name} first", text) for name, text in zip((one.first, one.second), one.said, strict=False)],
        )
    turns = [(turn.role, turn.content) for turn in one.case.question.messages]
    texts = [*turns, *shown, *((name, text) for name, text in said if text)]
    inner = "".join(f"<h3>{_text(name)}</h3><pre>{_text(_cut(text))}</pre>" for name, text in texts)
    title = f"{one.case.task}, {one.case.id}: {result}"
    return f"<details><summary>{_text(title)}</summary>{inner}</details>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in heads)
    body = "".join(
        f"<tr><th>{_text(first)}</th>" + "".join(f"<td>{_text(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    kind = "numbers" if any(heads) else "numbers words"
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} more characters)"
