"""The parts that the pages of a run and of several models share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from heedlm.eval import words
from heedlm.eval.conduct import Conduct, Lengths
from heedlm.eval.html_parts import Section, cut, facts, folded, legend, name, table, text
from heedlm.eval.plots import Series, key, spreads, strips
from heedlm.eval.prices import money_text
from heedlm.eval.results import Decision, Figure, Forgetting, Judgement
from heedlm.eval.suites.measure import Measured, sentences

_MARKS = {"reached": ("right", "✓"), "missed": ("wrong", "✗"), "unsure": ("unsure", "?")}
_CALLS = {"ship": ("right", "✓"), "do not ship": ("wrong", "✗"), "cannot tell": ("unsure", "?")}


def badge(decision: Decision | None) -> str:
    """The verdict of a gate in a few words, for the head of a page."""
    if decision is None:
        return ""
    style, sign = _CALLS[decision.call]
    return f'<a class="badge {style}" href="#verdict">{sign} {text(decision.call)}</a>'


def verdict(decision: Decision | None) -> Section | None:
    """What the gate of the user says."""
    if decision is None:
        return None
    open_ = [one for one in decision.figures if one.state != "reached"]
    reached = [one for one in decision.figures if one.state == "reached"]
    body = _figures(sorted(open_, key=lambda one: one.state), "Figures that are not reached") if open_ else ""
    if reached:
        body += folded("every figure that is reached", _figures(reached, "Figures that are reached"))
    lead = (
        f"{len(reached)} of {len(decision.figures)} figures are reached for sure. A figure is reached or missed when its "
        "whole 95 % interval is on one side of what was asked."
    )
    return Section("verdict", "verdict", f"Verdict: {text(decision.call)}", body, lead)


def _figures(shown: Sequence[Figure], label: str) -> str:
    rows = [
        [
            _sign(*_MARKS[one.state]),
            f'<th scope="row">{name(one.what)}</th>',
            *(cut(said, 300) for said in (one.found, one.asked, one.why)),
        ]
        for one in shown
    ]
    return table(("", "figure", "found", "asked", ""), rows, label, "gate")


def _sign(style: str, sign: str) -> str:
    return f'<td class="{style}">{sign}</td>'


def judged(found: Sequence[Judgement]) -> Section | None:
    """What a judge thinks, apart from all that was checked."""
    if not found:
        return None
    rows = [
        [
            name(one.what),
            name(one.judge),
            f"{one.n:,}",
            f"<b>{words.percent(one.share)}</b>",
            f"{words.percent(one.low)} to {words.percent(one.high)}",
            "" if one.even is None else words.percent(one.even),
        ]
        for one in found
    ]
    notes = "".join(f"<li>{cut(note, 600)}</li>" for one in found for note in one.notes)
    body = table(("figure", "judge", "n", "share", "95 % interval", "even"), rows, "Judged figures")
    body += f'<ul class="notes">{notes}</ul>' if notes else ""
    lead = "Opinions of a model about replies. No program has checked them, and nothing above or below counts them."
    return Section("judged", "judged", "Judged, not checked", body, lead, "judged")


def formats(found: Sequence[Measured], series: Mapping[str, Series]) -> Section | None:
    """What suites measure beside the mean, where there is more to say than a comparison with guessing."""
    shown = [one for one in found if one.arm in series]
    shown = [one for one in shown if one.spread or one.agreement or one.corpus or one.fallbacks or one.remark]
    if not shown:
        return None
    spread = [(one, one.spread) for one in shown if one.spread is not None]
    body = ""
    if spread:
        keys = legend((key(series[arm]), name(series[arm].name)) for arm in dict.fromkeys(one.arm for one, _ in spread))
        rows = [(words.task_title(one.task), series[one.arm], of.by_format) for one, of in spread]
        layouts = [
            [f"{name(words.task_title(one.task))}, {name(series[one.arm].name)}", name(layout), words.percent(score)]
            for one, of in spread
            for layout, score in sorted(of.by_format.items(), key=lambda pair: pair[1])
        ]
        inner = table(("", "format", "score"), layouts, "Scores by format")
        body = f"<h3>One question, several layouts</h3>{keys}{spreads(rows)}{folded('every format', inner)}"
    told = [
        [name(words.task_title(one.task)), name(series[one.arm].name), f'<td class="said">{text(" ".join(said))}</td>']
        for one in shown
        if (said := sentences(one))
    ]
    body += table(("task", "arm", ""), told, "What suites measure", "words")
    lead = (
        "The same items in other layouts, other words, drawn again, or later in a conversation; and how replies were "
        "read. Ticks are single layouts, the mark is their mean."
    )
    return Section("formats", "formats", "Formats and consistency", body, lead)


def replies(
    found: Mapping[str, Conduct], right: Lengths | None, series: Mapping[str, Series], unasked: Sequence[str] = ()
) -> Section | None:
    """How replies end and how long they are. right: words of the right answers.   unasked: arms cut at a stop text."""
    there = [(arm, one) for arm, one in found.items() if arm in series]
    if not there:
        return None
    rows = [
        [
            name(series[arm].name),
            f"{one.n:,}",
            "–" if arm in unasked else words.percent(one.ended / one.n),
            "–" if arm in unasked else f"{one.cut:,}",
            f"{one.failed:,}",
            f"{one.empty:,}",
        ]
        for arm, one in there
    ]
    head = ("", "replies", "ended by themselves", "cut off", "failed", "empty")
    strip = [(series[arm], one.lengths) for arm, one in there if one.lengths is not None]
    strip += [(Series("right answers", "arm-right", "square"), right)] if right is not None else []
    body = table(head, rows, "How replies end")
    body += f"<h3>Words in a reply</h3>{strips(strip)}" if strip else ""
    lead = (
        "A model that has learned to answer also stops. The lines below hold nine replies in ten, the thick part half of "
        "them, the mark is the median."
    )
    if unasked:
        lead += " –: this arm is cut where the next example of its plain frame would begin."
    return Section("replies", "replies", "How replies end, and how long they are", body, lead)


def forgetting(bits: Forgetting | None) -> str:
    """Bits per byte before and after, as a table; "" where they were not measured."""
    if bits is None:
        return ""
    texts = [("text of the kind it was trained on", bits.before, bits.after)]
    texts.append(("text of another kind", bits.other_before, bits.other_after))
    rows = [[what, f"{a:.3f}", f"{b:.3f}", f"<b>{words.change(b / a - 1)}</b>"] for what, a, b in texts]
    note = '<p class="lead">Bits per byte: how well plain text is still predicted. Lower is better; a rise is forgetting.</p>'
    return f"<h3>What was forgotten</h3>{note}{table(('', 'before', 'after', 'change'), rows, 'Bits per byte')}"


def spent(found: Mapping[str, Conduct], series: Mapping[str, Series]) -> str:
    """Seconds and tokens of asking, by arm, and money where there are prices."""
    there = [one for arm, one in found.items() if arm in series]
    paid, counted = any(one.money is not None for one in there), any(one.prompt_tokens is not None for one in there)
    rows = [
        [
            name(series[arm].name),
            f"{one.n:,}",
            words.duration(one.seconds),
            "not told" if one.tokens is None else f"{one.tokens:,}",
            "" if not one.tokens or one.seconds <= 0 else f"{one.tokens / one.seconds:,.0f}",
            *(["" if one.prompt_tokens is None else f"{one.prompt_tokens:,}"] if counted else []),
            *(["" if one.money is None else f"<b>{money_text(one.money)}</b>"] if paid else []),
        ]
        for arm, one in found.items()
        if arm in series
    ]
    head = ("asking", "items", "time", "tokens generated", "tokens a second")
    more = (*(("tokens of prompts",) if counted else ()), *(("money",) if paid else ()))
    return table((*head, *more), rows, "Time and tokens of asking")


def of_weights(models: Iterable[str]) -> dict[str, str]:
    """Checksums of weights by model, each once, from "name checksum" as the log has it."""
    told = (who.rpartition(" ") for who in dict.fromkeys(models))
    return {f"weights of {model}" if model else "answered by": checksum for model, _, checksum in told}


def reproduce(about: Mapping[str, str], commands: Sequence[str], hashes: Mapping[str, str], *, apart: bool) -> Section:
    """Commands, versions and hashes. apart: whether a judge's figures stand on the page as well."""
    lines = "\n".join(text(" ".join(command.split())) for command in dict.fromkeys(commands))
    body = f'<pre class="commands" tabindex="0"><code>{lines}</code></pre>' if lines else ""
    body += facts({key: value for key, value in about.items() if key != "command" or not lines})
    rows = [[name(what), f'<td class="hash">{name(value)}</td>'] for what, value in hashes.items()]
    body += f"<h3>Hashes</h3>{table((), rows, 'Hashes', 'words')}" if rows else ""
    checked = "Every other score comes" if apart else "No judge: every score comes"
    lead = (
        "Intervals: Tango’s where every item stands alone and is right or wrong, else a paired bootstrap over groups of "
        "items, seeded. P-values: McNemar’s exact test, else sign flips of the groups; over several tasks Holm’s. "
        f"{checked} from checks that a program can run."
    )
    return Section("reproduce", "reproduce", "How to reproduce", body, lead)
