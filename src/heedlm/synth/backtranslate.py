"""Documents turned round: a model finds the instruction, and the document is the answer.

Source: Li et al. 2023, "Self-alignment with instruction backtranslation", arXiv 2308.06259, without its fine-tuned
backward model: any chat model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from heedlm.data.words import words
from heedlm.messages import Example, Message, Request
from heedlm.synth import made, marks
from heedlm.synth.desk import Call
from heedlm.synth.inputs import Document
from heedlm.synth.made import Drop, Made
from heedlm.synth.novelty import Pool
from heedlm.synth.rate import rated
from heedlm.synth.wording import INSTRUCTION, TEXT, ask_for_instruction
from heedlm.synth.work import Work, question

TOO_LONG, LIKE_ANOTHER, HOLDS_MARK, MALFORMED = (
    "document too long",
    "like an earlier document",
    "document holds a mark",
    "malformed reply",
)
_SIMILARITY = 0.8  # of documents; as `heed prepare` has it for rows


def backtranslate(work: Work, documents: Sequence[Document]) -> Made:
    """A row for each document for which one instruction came back; what cannot be one is dropped before it is paid for."""
    found = Made()
    kept = _worth_asking(documents, work, found)
    sampling = work.options.sampling(work.mode)
    calls = [
        Call(Request(messages=question(ask_for_instruction(document.text, work.options.about))), sampling)
        for document in kept
    ]
    # The document stands in the row already, so the prompt is kept with its place in it.
    prompt = question(ask_for_instruction("{document}", work.options.about))
    for document, told in zip(kept, work.ask("finding instructions", calls), strict=True):
        said = "" if told.reply is None else told.reply.text
        what = {"reply": said, "key": told.key}
        if told.reply is None:
            found.drops.append(Drop(told.problem, told.why, document.where, what))
            continue
        instruction, why = _instruction(said)
        if why:
            found.drops.append(Drop(MALFORMED, why, document.where, what))
            continue
        asked = Example("", (Message("user", instruction),), document.where, meta=document.meta)
        synth = made.record(work.origin, told.key, prompt, sampling)
        answer = Message("assistant", document.text)
        found.rows.append(made.row(work.origin, asked, answer, synth, id=f"back-{told.key[:12]}"))
    found.rows = rated(work, found.rows, found)
    return found


def _instruction(reply: str) -> tuple[str, str]:
    """The one instruction of a reply, or what is wrong with the reply."""
    texts, malformed = marks.parse(reply, INSTRUCTION)
    if malformed:
        return "", malformed[0]
    return (texts[0], "") if len(texts) == 1 else ("", f"{len(texts)} instructions, one was asked for")


def _worth_asking(documents: Sequence[Document], work: Work, found: Made) -> list[Document]:
    kept = []
    for document in documents:
        long = len(words(document.text))
        if long > work.options.max_words:
            why = f"{long:,} words, the limit is {work.options.max_words:,}: --max-words {long}"
            found.drops.append(Drop(TOO_LONG, why, document.where))
        elif marks.holds(document.text, TEXT):
            found.drops.append(Drop(HOLDS_MARK, f"<{TEXT}> stands in it", document.where))
        else:
            kept.append(document)
    pool = Pool([], work.options.similarity or _SIMILARITY)
    new = []
    for document, like in zip(kept, pool.take([document.text for document in kept]), strict=True):
        if like is None:
            new.append(document)
        else:
            why = f"{like.similarity:.0%} the same as one that begins {like.text[:60]!r}"
            found.drops.append(Drop(LIKE_ANOTHER, why, document.where))
    return new
