"""What a judge said, for programs, pull requests and terminals: in files of its own, never among what was verified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from heedlm.eval import words
from heedlm.eval.judge.agreement import Agreement
from heedlm.eval.judge.asking import NOT_ASKED
from heedlm.eval.judge.bias import Length, Position
from heedlm.eval.judge.summary import JudgeReport, PairSummary, PointsSummary, Rate, pair_caveats
from heedlm.eval.results import Judgement
from heedlm.messages import JSON

if TYPE_CHECKING:
    from rich.console import Group

VERSION = 1
_SURE = 0.05


def to_json(report: JudgeReport) -> dict[str, JSON]:
    """All of it. `kind` says that none of it was verified."""
    return {
        "version": VERSION,
        "kind": "heed judge report",
        "verified": False,
        "headline": headline(report),
        **asdict(report),
        "pairs": [{**asdict(pair), "caveats": pair_caveats(pair)} for pair in report.pairs],
    }


def headline(report: JudgeReport) -> str:
    """A sentence for each figure, after who says it and what it must not be read without."""
    found = [sentence for pair in report.pairs for sentence in (*pair_caveats(pair), _of_pair(pair))]
    found += [_of_points(one) for one in report.points]
    return " ".join([f"Judged by {report.judge}, not verified:", *(found or ["Nothing was judged."])])


def _of_pair(pair: PairSummary) -> str:
    rate = pair.all
    if rate is None:
        return f"No verdict on {pair.second} against {pair.first}."
    won = f"{pair.second} wins {words.percent(rate.rate)} of {rate.n:,} items against {pair.first}"
    span = f"95 % interval {words.percent(rate.low)} to {words.percent(rate.high)}, a tie counting half"
    if not sure(rate):
        return f"No sure preference: {won} ({span})."
    return f"Preferred: {pair.second if rate.rate > 0.5 else pair.first}; {won} ({span})."


def _of_points(one: PointsSummary) -> str:
    if not one.n:
        return f"No points for {one.name}."
    return f"Points of {one.name}: {one.mean:.2f} ({one.low:.2f} to {one.high:.2f}, {one.n:,} replies)."


def sure(rate: Rate) -> bool:
    """Whether interval and p-value agree that one is preferred."""
    return rate.p_holm < _SURE and not rate.low <= 0.5 <= rate.high


def judgements(report: JudgeReport) -> tuple[Judgement, ...]:
    """The figures as the page of an evaluation shows them, in a section of their own."""
    found = []
    ended = tuple(_ended(report))
    for pair in report.pairs:
        if pair.all is not None:
            what = f"{pair.second} preferred to {pair.first}, a tie counting half"
            rate, notes = pair.all, (*pair_caveats(pair), *pair_lines(pair), *ended)
            found.append(Judgement(what, report.judge, rate.n, rate.rate, rate.low, rate.high, 0.5, notes))
    reach = report.rubric.most - 1
    for one in report.points:
        if one.n:
            what = f"{one.name}: points of 1 to {report.rubric.most}, as a share"
            share, low, high = ((value - 1) / reach for value in (one.mean, one.low, one.high))
            found.append(Judgement(what, report.judge, one.n, share, low, high, None, (*points_lines(one), *ended)))
    return tuple(found)


def to_markdown(report: JudgeReport) -> str:
    """The judge's report for a pull request."""
    lines = [f"**{headline(report)}**", ""]
    for pair in report.pairs:
        lines += [f"### {pair.second} against {pair.first}", ""]
        lines += ["| task | n | can show | won | lost | tied | win rate | 95 % interval | p, Holm |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|:-:|--:|"]
        lines += ["| " + " | ".join(cells) + " |" for cells in rate_rows(pair)]
        lines += ["", *(f"- {line}" for line in pair_lines(pair)), ""]
    if report.points:
        lines += ["| reply of | n | points | 95 % interval | difference | 95 % interval | p |"]
        lines += ["|---|--:|--:|:-:|--:|:-:|--:|"]
        lines += ["| " + " | ".join(points_row(one)) + " |" for one in report.points]
        lines += ["", *(f"- {one.name}: {line}" for one in report.points for line in points_lines(one)), ""]
    lines += [*(f"- {line}" for line in shared_lines(report)), "", "| how to reproduce | |", "|---|---|"]
    lines += [
        f"| {name} | {' '.join(value.replace('|', chr(92) + '|').split())} |" for name, value in report.about.items()
    ]
    return "\n".join(lines) + "\n"


def rate_rows(pair: PairSummary) -> Iterator[list[str]]:
    """The cells of each task, then of all."""
    every = list(pair.tasks.items())
    if pair.all is not None and len(every) != 1:
        every.append(("all items", pair.all))
    for name, rate in every:
        yield [
            words.task_title(name),
            f"{rate.n:,}",
            f"{100 * rate.smallest:.0f}",
            f"{rate.wins:,}",
            f"{rate.losses:,}",
            f"{rate.ties:,}",
            words.percent(rate.rate),
            f"{words.percent(rate.low)} to {words.percent(rate.high)}",
            words.p_value(rate.p_holm),
        ]


def pair_lines(pair: PairSummary) -> list[str]:
    """How far the verdicts on a pair can be believed, a sentence each."""
    found = [_ties(pair), _position(pair.position), *_length(pair)]
    if pair.missing:
        said = "; ".join(f"{why}: {count:,}" for why, count in pair.missing.items())
        found.append(f"Without a verdict, and in no figure: {sum(pair.missing.values()):,} of {pair.items:,} ({said}).")
    if pair.checked is not None:
        one = pair.checked
        found.append(
            f"Checks tell the two apart on {one.n:,} of the judged items: the judge sides with them on {one.sided:,}, "
            f"against them on {one.against:,}."
        )
    return [line for line in [*found, *agreement_lines(pair.agreement)] if line]


def _ties(pair: PairSummary) -> str:
    told = "; ".join(f"{how}: {count:,}" for how, count in pair.ties.items())
    return f"Ties: {told}. A win needs both orders." if told else ""


def _position(found: Position) -> str:
    if not found.chosen:
        return "Place: on no item did both orders choose a reply."
    return (
        f"Place: of {found.chosen:,} items on which both orders chose, they contradict each other on {found.contradicted:,} "
        f"(shown first preferred {found.first:,}, shown last {found.last:,}, p {words.p_value(found.p)})."
    )


def _length(pair: PairSummary) -> list[str]:
    found: Length = pair.length
    if not found.n:
        return ["Length: no item with a winner has replies of different length."]
    told = [
        f"Length: the longer reply won {found.longer:,} of {found.n:,} items with a winner ({words.percent(found.share)}, "
        f"{words.percent(found.low)} to {words.percent(found.high)}, p {words.p_value(found.p)})."
    ]
    if found.even is None or found.even_low is None or found.even_high is None or found.worth is None:
        told.append("Whether length itself is liked cannot be told: nearly always the same one replies at more length.")
    else:
        told.append(
            f"Were {pair.second} as often the longer as the shorter one, it would win {words.percent(found.even)} "
            f"({words.percent(found.even_low)} to {words.percent(found.even_high)}); to be the longer one is worth "
            f"{words.points(found.worth)} points."
        )
    return told


def agreement_lines(found: Agreement | None) -> list[str]:
    """With people."""
    if found is None:
        return []
    if not found.n:
        return [f"People: no verdict on any of the {found.unread:,} labelled items."]
    unread = f"; {found.unread:,} labelled items have no verdict" if found.unread else ""
    return [
        f"People: the judge says the same on {words.percent(found.share)} of {found.n:,} labelled items "
        f"({words.percent(found.share_low)} to {words.percent(found.share_high)}); Cohen's kappa {found.kappa:.2f} "
        f"({found.kappa_low:.2f} to {found.kappa_high:.2f}){unread}."
    ]


def points_row(one: PointsSummary) -> list[str]:
    """The cells of one contender."""
    cells = [one.name, f"{one.n:,}", f"{one.mean:.2f}" if one.n else "-", f"{one.low:.2f} to {one.high:.2f}"]
    if one.difference is None:
        return [*cells, "", "", ""]
    mean, low, high, p = one.difference
    return [*cells, f"{mean:+.2f}", f"{low:+.2f} to {high:+.2f}", words.p_value(p)]


def points_lines(one: PointsSummary) -> list[str]:
    found = [f"points given: {', '.join(f'{points}: {count:,}' for points, count in one.counts.items()) or 'none'}."]
    if one.missing:
        said = "; ".join(f"{why}: {count:,}" for why, count in one.missing.items())
        found.append(f"without points, and in no figure: {sum(one.missing.values()):,} of {one.replies:,} ({said}).")
    if one.length is not None:
        found.append(f"correlation of points with length: {one.length:+.2f}.")
    return found


def shared_lines(report: JudgeReport) -> list[str]:
    """What holds for all of it."""
    spent = report.spent
    tokens = f"{spent['prompt_tokens']:,} + {spent['completion_tokens']:,} tokens"
    money = f", {spent['money']} in money" if "money" in spent else ""
    kept = f"; {report.reused:,} answers were there already" if report.reused else ""
    found = [*report.notes, *agreement_lines(report.points_agreement)]
    found.append(f"Rubric: {report.rubric.name}{'; the row’s own answer was shown' if report.reference else ''}.")
    found.append(f"Asked in all: {spent['requests']:,} requests, {tokens}{money}{kept}.")
    return [*found, *_ended(report)]


def _ended(report: JudgeReport) -> list[str]:
    """That the budget ended it, where it did."""
    if report.stopped is None:
        return []
    left = max((pair.missing.get(NOT_ASKED, 0) for pair in report.pairs), default=0)
    return [f"Stopped at the budget of {report.stopped}{f', {left:,} items not asked' if left else ''}."]


def to_terminal(report: JudgeReport) -> Group:
    """The report for a terminal (a rich renderable)."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    careful = any(pair_caveats(pair) for pair in report.pairs)
    parts: list[Text | Table] = [Text(headline(report), style="bold red" if careful else "bold")]
    for pair in report.pairs:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("task", overflow="fold", min_width=12)
        for name in ("n", "can\nshow", "won", "lost", "tied", "win\nrate", "95 %\ninterval", "p,\nHolm"):
            table.add_column(name, justify="right", no_wrap=True)
        for cells in rate_rows(pair):
            table.add_row(*cells)
        parts += [Text(), Text(f"{pair.second} against {pair.first}", style="bold"), table]
        parts += [Text(line) for line in pair_lines(pair)]
    for one in report.points:
        parts += [Text(f"{one.name}: {' '.join(points_lines(one))}")]
    return Group(*parts, Text(), *(Text(line, style="dim") for line in shared_lines(report)))
