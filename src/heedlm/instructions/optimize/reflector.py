"""The strong model of the reflective stage, asked once for each reflection, and never twice for the same."""

from __future__ import annotations

from collections.abc import Callable

from heedlm.errors import HeedError
from heedlm.eval.asking import Ask, answers
from heedlm.eval.evaluate import Arm
from heedlm.instructions.bench import Bench, Candidate
from heedlm.instructions.optimize.ledger import Ledger
from heedlm.instructions.optimize.reflect import Reflector, Told
from heedlm.instructions.replies import Kept, key_of
from heedlm.messages import Message, Request, Sampling

_LONGEST = 1024  # tokens of a reflection
_HEAT = 0.7  # of its drawing: the same request may be reflected on twice


def reflector_of(
    arm: Arm, bench: Bench, ledger: Ledger, usable: Callable[[Candidate], bool], *, seed: int
) -> Reflector:
    """The reflector behind an opened model. What it said is kept with the bench's replies, before it is used."""

    def ask(prompt: str, number: int) -> str:
        sampling = Sampling(max_tokens=_LONGEST, temperature=_HEAT, seed=seed + number)
        asked = Ask(Request(messages=(Message("user", prompt),)))
        key = key_of(f"{arm.chat.name} {arm.identity}".strip(), asked, sampling)
        kept = bench.store.replies.get(key)
        if kept is None:
            (batch,) = answers(arm.chat, [asked], sampling)
            kept = Kept(batch.replies[0], batch.tokens[0], batch.seconds)
            if kept.reply.stop_reason == "error":
                mend = "run the same command again: what was answered is kept"
                raise HeedError(f"no reflection: {kept.reply.text}", arm.name, mend)
            bench.store.keep({key: kept})
        return kept.reply.text

    def tell(candidate: Candidate, item: int) -> Told:
        case = bench.cases[item]
        names = {one.name for one in candidate.instruction.inputs}
        asked = {name: str(value) for name, value in case.values.items() if name in names}
        if ledger.measure == "likelihood":  # nothing was answered, and an answer would have to be paid
            return Told(asked, "(not asked for: hardly any answer was right)", f"the right one is {case.target}")
        ((answer,),) = bench.answers([candidate], [item])
        right = f" (right: {case.target})" if case.target else ""
        return Told(asked, answer.reply, "" if answer.right else f"{answer.why}{right}")

    return Reflector(ask, tell, usable)
