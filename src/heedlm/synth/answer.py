"""Prompts of a file, answered by a teacher."""

from __future__ import annotations

from collections.abc import Sequence

from heedlm.messages import Request
from heedlm.synth import made
from heedlm.synth.desk import Call
from heedlm.synth.inputs import Prompt
from heedlm.synth.made import Drop, Made
from heedlm.synth.rate import rated
from heedlm.synth.work import Work, guided

REPEATED = "repeated prompt"


def answer(work: Work, prompts: Sequence[Prompt]) -> Made:
    """A row for each prompt that got a good answer, in order; the prompt as it was, without the guide."""
    found = Made()
    sampling = work.options.sampling(work.mode)
    calls = [Call(asking(prompt, work.options.guide), sampling) for prompt in prompts]
    seen: set[str] = set()
    for prompt, call, told in zip(prompts, calls, work.ask("answering", calls), strict=True):
        example = prompt.example
        if told.key in seen:
            found.drops.append(Drop(REPEATED, "an earlier prompt is the same", example.source, {"id": example.id}))
            continue
        seen.add(told.key)
        wrong = (told.problem, told.why) if told.reply is None else made.unfit(told.reply)
        if told.reply is None or wrong is not None:
            assert wrong is not None
            text = "" if told.reply is None else told.reply.text
            what = {"id": example.id, "prompt": prompt.asked, "answer": text, "key": told.key}
            found.drops.append(Drop(*wrong, example.source, what))
            continue
        synth = made.record(work.origin, told.key, call.request.messages, sampling)
        found.rows.append(made.row(work.origin, example, made.answer_of(told.reply), synth, id=example.id))
    found.rows = rated(work, found.rows, found)
    return found


def asking(prompt: Prompt, guide: str) -> Request:
    """What is sent for a prompt."""
    example = prompt.example
    messages = guided(example.messages, guide)
    return Request(messages=messages, tools=example.tools, template_kwargs=example.template_kwargs)
