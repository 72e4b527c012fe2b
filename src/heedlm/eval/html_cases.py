"""The items of a report side by side, with filters, and not more of them than a page bears."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from heedlm.eval import words
from heedlm.eval.html_parts import Section, cut, folded, name, text
from heedlm.eval.plots import Series, key
from heedlm.eval.results import Answer, Case
from heedlm.messages import Message

MOST_CASES = 300
MOST_BYTES = 3_000_000  # of all cases on a page
_LENGTHS = (4000, 1500, 600, 250, 100)  # characters of one text on the page; the longest that keeps the page small
_TURNS = 12  # of a conversation that are shown: the first two, and the last ones
_WHY = 400  # characters of a reason


@dataclass(frozen=True, slots=True)
class Sides:
    """What stands beside what. series: by arm, in order; the first `main` of them are always open.   pairs: (first,
    second) that are compared.   ways: by model, the arms that ask it in several ways.   log: where all items are."""

    series: Mapping[str, Series]
    main: int
    pairs: Sequence[tuple[str, str]]
    ways: Mapping[str, Sequence[str]]
    log: str


def chosen_cases(cases: Sequence[Case], most: int = MOST_CASES) -> list[Case]:
    """At most so many cases: of every outcome as many, and of each in turn from every task. So a rare outcome is there
    whole, or as far as its share of the page goes."""
    shelves: dict[str, dict[str, list[Case]]] = {}
    for case in cases:
        shelves.setdefault(case.outcome, {}).setdefault(case.task, []).append(case)
    by_outcome = [_in_turn(list(by_task.values())) for by_task in shelves.values()]
    return _in_turn(by_outcome)[:most]


def _in_turn(shelves: Sequence[Sequence[Case]]) -> list[Case]:
    return [case for layer in zip_longest(*shelves) for case in layer if case is not None]


def side_by_side(cases: Sequence[Case], sides: Sides) -> Section | None:
    """The section with its filters; None without items."""
    if not cases:
        return None
    forms = _forms(cases)
    tagged = {id(case): _tags(case, sides, forms) for case in cases}
    articles = _fitting(chosen_cases(cases), sides, tagged, forms)
    counts = Counter(tag for tags in tagged.values() for tag in tags)
    share = 100 * len(articles) / len(cases)
    every = len(articles) == len(cases)
    lead = (
        f"All {len(cases):,} items."
        if every
        else f"{len(articles):,} of {len(cases):,} items ({share:.0f} %), as many of every outcome, from every task; all "
        f"of them are in <code>{text(sides.log)}</code>."
    )
    lead += " Press <kbd>/</kbd> to search."
    more = '<button type="button" id="more" hidden>show more</button>'
    controls = _controls(cases, sides, counts)
    return Section("cases", "examples", "Side by side", controls + "".join(articles) + more, lead)


def _fitting(
    shown: Sequence[Case],
    sides: Sides,
    tagged: Mapping[int, Sequence[str]],
    forms: Mapping[tuple[str, str], list[Case]],
) -> list[str]:
    """The cases as HTML, their texts as long as the page bears; fewer cases where even short texts are too many."""
    articles: list[str] = []
    for most in _LENGTHS:
        articles = [_article(case, sides, tagged[id(case)], forms, most) for case in shown]
        if sum(len(one.encode()) for one in articles) <= MOST_BYTES:
            return articles
    left, kept = MOST_BYTES, []
    for one in articles:
        left -= len(one.encode())
        if left < 0:
            break
        kept.append(one)
    return kept


def _forms(cases: Iterable[Case]) -> dict[tuple[str, str], list[Case]]:
    """By task and item its forms, where there are several."""
    found: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        if case.form:
            found.setdefault((case.task, case.item), []).append(case)
    return {place: forms for place, forms in found.items() if len(forms) > 1}


def _right(answer: Answer) -> bool:
    return answer.score >= 1


def _tags(case: Case, sides: Sides, forms: Mapping[tuple[str, str], list[Case]]) -> list[str]:
    """What the filters find a case by."""
    tags = []
    for number, arm in enumerate(sides.series):
        if (answer := case.answers.get(arm)) is not None:
            tags.append(f"right-{number}" if _right(answer) else f"wrong-{number}")
            tags += [f"cut-{number}"] * (answer.stop_reason != "stop")
    for number, (first, second) in enumerate(sides.pairs):
        before, after = case.answers[first].score, case.answers[second].score
        tags += [f"win-{number}"] * (after > before) + [f"loss-{number}"] * (after < before)
    main = [_right(case.answers[arm]) for pair in sides.pairs for arm in pair]
    tags += ["all-right"] * all(main) + ["none-right"] * (not any(main))
    same = forms.get((case.task, case.item), [])
    for number, arms in enumerate(sides.ways.values()):
        asked = {_right(case.answers[arm]) for arm in arms if arm in case.answers}
        by_form = ({_right(other.answers[arm]) for other in same if arm in other.answers} for arm in arms)
        tags += [f"flip-{number}"] * (len(asked) > 1 or any(len(verdicts) > 1 for verdicts in by_form))
    return tags


def _controls(cases: Sequence[Case], sides: Sides, counts: Mapping[str, int]) -> str:
    tasks = [(task, words.task_title(task)) for task in dict.fromkeys(case.task for case in cases)]
    names = [series.name for series in sides.series.values()]
    by_arm = [
        (arm, [(f"right-{n}", f"{arm}: right"), (f"wrong-{n}", f"{arm}: wrong"), (f"cut-{n}", f"{arm}: did not end")])
        for n, arm in enumerate(names)
    ]
    told = [(sides.series[first].name, sides.series[second].name) for first, second in sides.pairs]
    wins = [(f"win-{n}", f"win: {second} better than {first}") for n, (first, second) in enumerate(told)]
    losses = [(f"loss-{n}", f"loss: {second} worse than {first}") for n, (first, second) in enumerate(told)]
    alike = [("all-right", "all right" if len(told) > 1 else "both right"), ("none-right", "none right")]
    flips = [(f"flip-{n}", f"flip: {model} right one way, wrong another") for n, model in enumerate(sides.ways)]
    outcomes = [
        (tag, f"{label} ({counts[tag]:,} in all)") for tag, label in [*wins, *losses, *flips, *alike] if counts.get(tag)
    ]
    groups = [(arm, [one for one in options if counts.get(one[0])]) for arm, options in by_arm]
    return (
        '<form class="controls" id="filters" hidden>'
        f"{_choice('task', 'all tasks', _options(tasks))}{_choice('outcome', 'all outcomes', _options(outcomes))}"
        f"{_choice('arm', 'all arms', ''.join(_group(arm, options) for arm, options in groups))}"
        '<input type="search" id="find" placeholder="find words" aria-label="find words" autocomplete="off">'
        '<button type="button" id="clear" hidden>clear</button>'
        '<output id="count" aria-live="polite"></output></form>'
    )


def _group(label: str, options: Iterable[tuple[str, str]]) -> str:
    return f'<optgroup label="{name(label)}">{_options(options)}</optgroup>'


def _options(options: Iterable[tuple[str, str]]) -> str:
    return "".join(f'<option value="{text(value)}">{name(label)}</option>' for value, label in options)


def _choice(control: str, everything: str, options: str) -> str:
    return f'<select id="{control}" aria-label="{control}"><option value="">{everything}</option>{options}</select>'


def _article(
    case: Case, sides: Sides, tags: Sequence[str], forms: Mapping[tuple[str, str], list[Case]], most: int
) -> str:
    arms = [arm for arm in sides.series if arm in case.answers]
    main, others = arms[: sides.main], arms[sides.main :]
    shown = "".join(_answer(sides.series[arm], case.answers[arm], most) for arm in main)
    more = "".join(_answer(sides.series[arm], case.answers[arm], most) for arm in others)
    saw = "".join(
        f"<dt>{name(sides.series[arm].name)}</dt><dd><pre dir=auto>{cut(case.answers[arm].prompt, most)}</pre></dd>"
        for arm in arms
        if case.answers[arm].prompt
    )
    right = f'<div class="turn right-answer"><span>expected</span>{_said(case.reference, most)}</div>'
    form = "".join(f"<em>{name(axis)}: {name(place)}</em>" for axis, place in case.form.items())
    return (
        f'<article tabindex="-1" data-task="{text(case.task)}" data-tags="{" ".join(tags)}">'
        f"<h3><span>{name(words.task_title(case.task))}{form}</span><small>{name(case.id)}</small></h3>"
        f"{_turns(case.messages, most)}{right if case.reference.strip() else ''}"
        f'<div class="pair">{shown}</div>{_of_forms(case, sides, forms)}'
        f"{folded('the other ways to ask', f'<div class=pair>{more}</div>') if more else ''}"
        f"{folded('what each model saw', f'<dl class=saw>{saw}</dl>') if saw else ''}</article>"
    )


def _turns(turns: Sequence[Message], most: int) -> str:
    """The conversation; of a long one its beginning and its end."""
    shown = [_turn(turn, most) for turn in turns]
    if len(shown) <= _TURNS:
        return "".join(shown)
    left = f'<div class="turn"><span></span><p><small>… {len(shown) - _TURNS:,} more turns …</small></p></div>'
    return "".join([*shown[:2], left, *shown[2 - _TURNS :]])


def _turn(turn: Message, most: int) -> str:
    calls = [f"{call.name} {json.dumps(call.arguments, ensure_ascii=False, default=str)}" for call in turn.tool_calls]
    content = "\n".join([*([turn.content] if turn.content else []), *calls])
    return f'<div class="turn {text(turn.role)}"><span>{text(turn.role)}</span>{_said(content, most)}</div>'


def _said(content: str, most: int) -> str:
    return f'<p dir="auto">{cut(content, most)}</p>'


def _answer(series: Series, answer: Answer, most: int) -> str:
    style, sign, told = "wrong", "✗", "wrong"
    if answer.score >= 1:
        style, sign, told = "right", "✓", "right"
    elif answer.score > 0:
        style, sign, told = "partly", f"{answer.score:.2f}", "score"
    ended = {"stop": "", "error": "no reply"}.get(answer.stop_reason, "did not end by itself")
    note = f" <small>{ended}</small>" if ended else ""
    said = _said(answer.text, most) if answer.text else "<p><em>nothing</em></p>"
    return (
        f'<div class="answer {series.style} {style}"><h4>{key(series)}{name(series.name)}{note}'
        f'<span class="sign" title="{told}">{sign}<span class="hidden"> {told}</span></span></h4>'
        f'{said}<div class="why" dir="auto">{cut(answer.why, _WHY if style == "wrong" else _WHY // 3)}</div></div>'
    )


def _of_forms(case: Case, sides: Sides, forms: Mapping[tuple[str, str], list[Case]]) -> str:
    """How the other forms of the same item went."""
    same = forms.get((case.task, case.item))
    if same is None:
        return ""
    told = []
    for arm, series in list(sides.series.items())[: sides.main]:
        verdicts = [_right(other.answers[arm]) for other in same if arm in other.answers]
        told.append(f"{name(series.name)} right in {sum(verdicts)} of {len(verdicts)}")
    return f'<p class="forms">All forms of this item: {"; ".join(told)}.</p>'
