"""Whether two sides read the same conversation as the same ids, and how far their predictions are apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heedlm.exports.prompts import Told
from heedlm.exports.source import Source

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

COMPARED_TOKENS = 256  # of one prompt at most, from its end: what an answer hangs on most
KEPT_LOGITS = 2**26  # numbers kept of a source (256 MB): 441 places of a vocabulary of 152,000


@dataclass(frozen=True, slots=True)
class Parity:
    """How many of `prompts` rendered prompts have the same ids on both sides.

    left_out: prompts that this form cannot say (tools, template kwargs), or in which somebody typed a control token.
    first: the first difference in words; "" where there is none.
    """

    prompts: int
    same: int
    left_out: int = 0
    first: str = ""

    @property
    def passed(self) -> bool:
        return self.prompts > 0 and self.same == self.prompts

    def __str__(self) -> str:
        return f"{self.same:,} of {self.prompts:,} rendered prompts have the same ids on both sides"


@dataclass(frozen=True, slots=True)
class Drift:
    """How far an export predicts otherwise than its source, over `tokens` places of the prompts.

    mean_kl, worst_kl: nats, KL(source || export).   same_top: share of places with the same most likely token.
    logit: the largest difference of a logit.
    """

    mean_kl: float
    worst_kl: float
    same_top: float
    logit: float
    tokens: int

    def __str__(self) -> str:
        return (
            f"mean KL {self.mean_kl:.1e} nats (worst {self.worst_kl:.1e}), same top token {self.same_top:.1%} "
            f"of {self.tokens:,}, largest logit difference {self.logit:.1e}"
        )


def compare_ids(source: Source, told: Sequence[Told], read: Callable[[Told], Sequence[int] | None]) -> Parity:
    """The ids that `read` makes of each conversation against those that the source is sent.

    read: None for a conversation that the other side has no words for. A prompt in which somebody typed a control token is
    left out where it differs: other runtimes take such a text for the template's own.
    """
    same, left_out, first = 0, 0, ""
    for one in told:
        theirs = read(one)
        if theirs is None:
            left_out += 1
        elif tuple(theirs) == one.ids:
            same += 1
        elif one.typed:
            left_out += 1
        else:
            first = first or _difference(source, one, theirs)
    return Parity(len(told) - left_out, same, left_out, first)


def _difference(source: Source, one: Told, theirs: Sequence[int]) -> str:
    """Where two readings part, in tokens as text."""
    at = next(
        (place for place, (mine, other) in enumerate(zip(one.ids, theirs, strict=False)) if mine != other),
        min(len(one.ids), len(theirs)),
    )
    mine, other = ([str(source.tokenizer.decode([token])) for token in ids[at : at + 6]] for ids in (one.ids, theirs))
    behind = str(source.tokenizer.decode(list(one.ids[max(0, at - 8) : at])))
    return f"behind {behind!r} the source reads {mine}, the export {other}"


@dataclass(frozen=True, slots=True)
class Witness:
    """What a source predicts at the last places of prompts with their answers: it may be let go before its export is loaded.

    sequences: ids of each.   logits: fp32 [places, V] of each.
    """

    sequences: tuple[tuple[int, ...], ...]
    logits: tuple[torch.Tensor, ...]


def witness(model: PreTrainedModel, told: Sequence[Told], answers: Sequence[Sequence[int]]) -> Witness:
    """Note what a model predicts.   answers: ids behind each prompt, perhaps none.

    As many places of each as fit into KEPT_LOGITS, at most COMPARED_TOKENS, from the end.
    """
    vocabulary = int(model.config.get_text_config().vocab_size)
    places = max(1, min(COMPARED_TOKENS, KEPT_LOGITS // (vocabulary * max(1, len(told)))))
    sequences = tuple((*one.ids, *answer)[-COMPARED_TOKENS:] for one, answer in zip(told, answers, strict=True))
    return Witness(sequences, tuple(_logits(model, ids, places) for ids in sequences))


def compare(seen: Witness, other: PreTrainedModel) -> Drift:
    """How far another model predicts otherwise, in fp32."""
    kl = worst = logit = 0.0
    same = count = 0
    for ids, mine in zip(seen.sequences, seen.logits, strict=True):
        theirs = _logits(other, ids, len(mine))
        vocabulary = min(mine.shape[-1], theirs.shape[-1])  # an export may have rows for padding
        mine, theirs = mine[:, :vocabulary], theirs[:, :vocabulary]
        each = _divergence(mine, theirs)
        kl += float(each.sum())
        worst = max(worst, float(each.max()))
        logit = max(logit, float((mine - theirs).abs().max()))
        same += int((mine.argmax(-1) == theirs.argmax(-1)).sum())
        count += len(mine)
    return Drift(kl / count, worst, same / count, logit, count)


def _logits(model: PreTrainedModel, ids: Sequence[int], places: int) -> torch.Tensor:
    """Logits of the last `places` of a sequence: fp32 [places, V], on the CPU."""
    import torch

    # Some families, and adapters, take no wish for a part: they compute all of it.
    wish = {"logits_to_keep": places} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with torch.no_grad():
        row = torch.tensor([list(ids)], device=model.device)
        logits: torch.Tensor = model(input_ids=row, use_cache=False, **wish).logits[0, -places:]
    return logits.float().cpu()


def _divergence(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """KL(mine || theirs) per row of [T, V], never below zero, where rounding would take it."""
    import torch

    ours, other = torch.log_softmax(mine.double(), -1), torch.log_softmax(theirs.double(), -1)
    return (ours.exp() * (ours - other)).sum(-1).clamp_min(0)
