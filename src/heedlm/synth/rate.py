"""A second look: the model rates each new row from 1 to 5, and what it finds poor is left out.

Source: the self-curation of Li et al. 2023, arXiv 2308.06259, with a wording of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from heedlm.messages import Example, Message, Request
from heedlm.synth import marks
from heedlm.synth.desk import Call
from heedlm.synth.made import Drop, Made
from heedlm.synth.wording import SCORE, ask_for_score
from heedlm.synth.work import Work

TOO_LOW, MALFORMED = "rated too low", "malformed rating"
BEST = 5


def rated(work: Work, rows: Sequence[Example], found: Made) -> list[Example]:
    """The rows that the model rates well enough, with the rating in `meta.synth`; all of them where nobody asks for it.

    The others go into `found.drops`: those it rates lower, and those for which no single number came back.
    """
    least = work.options.rate
    if least is None:
        return list(rows)
    sampling = work.options.sampling(work.mode)
    asked = Message("user", ask_for_score())
    # The row is shown as the conversation it is, so that no text in it can be taken for a mark around it.
    calls = [Call(Request((*row.messages, asked), tools=row.tools), sampling) for row in rows]
    kept = []
    for row, told in zip(rows, work.ask("rating", calls), strict=True):
        said = "" if told.reply is None else told.reply.text
        what = {"id": row.id, "prompt": row.messages[0].content, "answer": row.messages[-1].content, "reply": said}
        score, why = _score(said)
        if told.reply is None:
            found.drops.append(Drop(told.problem, told.why, row.source, what))
        elif score is None:
            found.drops.append(Drop(MALFORMED, why, row.source, what))
        elif score < least:
            found.drops.append(Drop(TOO_LOW, f"{score} of {BEST}, asked for was {least}", row.source, what))
        else:
            synth = {**row.meta["synth"], "rating": {"value": score, "of": BEST, "key": told.key}}
            kept.append(replace(row, meta={**row.meta, "synth": synth}))
    return kept


def _score(reply: str) -> tuple[int | None, str]:
    """The one number of a reply, or what is wrong with the reply."""
    texts, malformed = marks.parse(reply, SCORE)
    if malformed:
        return None, malformed[0]
    if len(texts) > 1:
        return None, f"{len(texts)} ratings, one was asked for"
    numbers = {str(number): number for number in range(1, BEST + 1)}
    return numbers.get(texts[0]), f"{texts[0][:40]!r} is no number from 1 to {BEST}"
