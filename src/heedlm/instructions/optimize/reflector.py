"""The strong model of the reflective stage, asked once for each reflection, and never twice for the same."""

from __future__ import annotations

from collections.abc import Callable

from heedlm.errors import HeedError
from heedlm.eval.asking import Ask, answers
from heedlm.eval.contenders import contenders_of
from heedlm.instructions.bench import Bench, Candidate
from heedlm.instructions.optimize.ledger import Ledger
from heedlm.instructions.optimize.money import Price, tokens_in
from heedlm.instructions.optimize.reflect import Reflector, Told
from heedlm.instructions.replies import Kept, key_of
from heedlm.messages import Message, Request, Sampling

_LONGEST = 1024  # tokens of a reflection
_HEAT = 0.7  # of its drawing: the same request may be reflected on twice


def reflector_of(
    name: str, bench: Bench, ledger: Ledger, usable: Callable[[Candidate], bool], *, price: Price | None, seed: int
) -> Reflector:
    """The reflector behind a name, as `heed prompt test` takes names. What it said is kept with the bench's replies.

    price: of its tokens, counted in the ledger. Raises HeedError for a name without a model.
    """
    (contender,) = contenders_of([name])
    arm = contender.open()

    def ask(prompt: str, number: int) -> str:
        sampling = Sampling(max_tokens=_LONGEST, temperature=_HEAT, seed=seed + number)
        asked = Ask(Request(messages=(Message("user", prompt),)))
        key = key_of(f"{arm.chat.name} {arm.identity}".strip(), asked, sampling)
        kept = bench.store.replies.get(key)
        if price is not None:
            ledger.afford(price.of(tokens_in(prompt), _LONGEST))
        if kept is None:
            (batch,) = answers(arm.chat, [asked], sampling)
            kept = Kept(batch.replies[0], batch.tokens[0], batch.seconds)
            if kept.reply.stop_reason == "error":
                mend = "run the same command again: what was answered is kept"
                raise HeedError(f"no reflection: {kept.reply.text}", name, mend)
            bench.store.keep({key: kept})
        if price is not None:
            written = tokens_in(kept.reply.text) if kept.tokens is None else kept.tokens
            ledger.spend(price.of(tokens_in(prompt), written))
        return kept.reply.text

    def tell(candidate: Candidate, item: int) -> Told:
        ((answer,),) = bench.answers([candidate], [item])
        values = {one: str(value) for one, value in bench.cases[item].values.items()}
        names = {one.name for one in candidate.instruction.inputs}
        target = bench.cases[item].target
        wrong = "" if answer.right else f"{answer.why} (right: {target})" if target else answer.why
        return Told({one: value for one, value in values.items() if one in names}, answer.reply, wrong)

    return Reflector(ask, tell, usable)
