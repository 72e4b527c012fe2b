"""Training and data on the page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heedlm.eval.around import Around, Data
from heedlm.eval.curves import Curve, loss_plot
from heedlm.eval.html_parts import Section, cut, facts, folded, name, table

_SIDES = {"train": "to learn from", "val": "to watch training", "test": "to ask here"}


def training(curves: Sequence[Curve], around: Around) -> Section | None:
    """Loss, validation and scores over the steps, and what training did."""
    losses = [curve for curve in curves if not curve.share]
    scores = [curve for curve in curves if curve.share]
    if not curves and not around.training:
        return None
    body = loss_plot(losses) if losses else ""
    if scores:
        body += f"<h3>Scores on the way</h3>{loss_plot(scores)}"
    body += facts(around.training)
    lead = "Loss on the tokens that are learned; lower is better. The bold line is smoothed." if losses else ""
    return Section("training", "training", "Training", body, lead)


def data(found: Data | None) -> Section | None:
    """The data card in short."""
    if found is None:
        return None
    splits = [
        [
            f"{name(split)} <small>{_SIDES.get(split, '')}</small>",
            *(f"{rows:,}", f"{groups:,}", f"{prompt:g}", f"{answer:g}"),
        ]
        for split, (rows, groups, prompt, answer) in found.splits.items()
    ]
    head = ("", "rows", "groups", "words asked, median", "words answered, median")
    body = table(head, splits, "Splits")
    sources = [
        [name(source), f"{kept:,}", name(licence), name(spoken)]
        for source, (kept, licence, spoken) in found.sources.items()
    ]
    body += f"<h3>Sources</h3>{table(('file', 'rows kept', 'licence', 'languages'), sources, 'Sources', 'words')}"
    told = {"left out": _counted(found.dropped), "found by rules, kept": _counted(found.flagged)}
    if found.apart is not None:
        apart = "no group and no prompt stands in two of them" if found.apart else "NOT APART: see the card"
        told["splits"] = apart
    body += facts(told)
    if found.notes:
        notes = "".join(f"<li>{cut(note, 600)}</li>" for note in found.notes)
        body += folded("notes of the card", f'<ul class="notes">{notes}</ul>')
    lead = f"{found.rows:,} rows were read and {found.kept:,} kept. The whole card is <code>data/card.html</code> in the run."
    return Section("data", "data", "What it learned from", body, lead)


def _counted(by_reason: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in by_reason.items()) or "none"
