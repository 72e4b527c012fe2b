"""An instruction behind the questions of `heed eval`, in the frame in which `heed chat` and `heed serve` put it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heedlm.errors import HeedError, Problem
from heedlm.eval.checkpoints import is_checkpoint
from heedlm.eval.contenders import Behind, is_endpoint
from heedlm.instructions import library
from heedlm.instructions.format import load
from heedlm.instructions.frame import OWN, Frame, frame_for
from heedlm.instructions.policy import Policy, needs, policy_of
from heedlm.messages import Chat, Message

_SHOWN = 12  # digits of the digest


def is_instruction(name: str | Path) -> bool:
    """Whether a name means an instruction, of a file or of the library, and not a plain text."""
    path = Path(name)
    return path.suffix == ".prompty" or (not path.exists() and str(name).removeprefix("heed:") in library.names())


def behind(name: str | Path, models: Sequence[str] = ()) -> Behind:
    """The instruction of a file, or of the library by name, to stand behind every question.

    models: those that will be asked; on each one of this machine it is proved that every block arrives. Raises HeedError: as
    `load`, for inputs beside the question that have no value, and for a template that loses a block.
    """
    instruction = load(name)
    missing = needs(instruction, {}).missing
    if missing:
        where = instruction.file or instruction.name
        raise HeedError.of(
            [
                Problem(
                    f"the input {one.name!r} has no value, and a question gives only one",
                    f"{where}:{one.line}",
                    f"give it a default in the file: {{name: {one.name}, default: ...}}",
                )
                for one in missing
            ]
        )
    policy = policy_of(instruction)
    digest = policy.prove().digest
    for model in models:
        if not is_endpoint(model) and not is_checkpoint(model):
            policy.prove(frame_for(model))
    told = "; ".join([f"behind the instruction {policy.name} (sha256 {digest[:_SHOWN]})", *policy.notes])
    return Behind(f" + instruction {policy.name}", told, lambda chat: _turns(policy, _frame(chat)))


def _turns(policy: Policy, frame: Frame | None) -> Callable[[Sequence[Message]], Sequence[Message]]:
    return lambda messages: policy.speak(messages, frame).messages


def _frame(chat: Chat) -> Frame | None:
    """The template and tokenizer of a model of this machine; None for an endpoint, which renders out of our sight."""
    template: Any = getattr(chat, "template", None)
    tokenizer: Any = getattr(chat, "tokenizer", None)
    if template is None or tokenizer is None:
        return None
    return Frame(OWN, template, tokenizer, own=True, model=chat.name)
