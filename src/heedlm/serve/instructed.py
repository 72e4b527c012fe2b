"""/instruction: the instruction behind a conversation, as the model sees it, each block in a colour of its own."""

from __future__ import annotations

from heedlm.errors import HeedError
from heedlm.instructions.compile import Compiled
from heedlm.instructions.frame import Frame
from heedlm.instructions.stretches import parts_of, tokens_by_block
from heedlm.serve.session import Session, frame_of

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")
_TYPED = "(what you type)"


def begin(session: Session) -> None:
    """Prove the instruction on the model, and say what is typed into it. Raises HeedError where a block would be lost."""
    policy = session.policy
    if policy is None:
        return
    frame = frame_of(session, session.chat)
    tokens = tokens_by_block(policy.prove(frame), frame)
    size = f", {sum(count for block, count in tokens.items() if block):,} tokens" if tokens else ""
    blocks = len(policy.instruction.blocks)
    session.say(f"under {policy.name}: {blocks} block{'s' * (blocks != 1)}{size}; ", "bold")
    session.say(f"what you type is its {policy.typed!r}; /instruction shows it\n", "dim")
    for note in policy.notes:
        session.say(f"{note}\n", "dim")


def show_instruction(session: Session, rest: str) -> None:
    """Show it round a text: `rest`, or what was typed last.   "off" talks on without it, "on" with it again."""
    policy = session.policy
    if policy is None:
        session.say("There is no instruction here: heed chat MODEL --instruction FILE begins with one.\n", "dim")
        return
    if rest in ("off", "on"):
        session.guided = rest == "on"
        told = "stands behind the conversation again" if session.guided else "is taken away; /instruction on resumes it"
        session.say(f"{policy.name} {told}.\n", "dim")
        return
    frame = frame_of(session, session.chat)
    try:
        compiled = policy.compiled(rest or session.said or _TYPED, frame)
    except HeedError as error:
        session.refuse(error)
        return
    _show(session, compiled, frame)
    if not session.guided:
        session.say("It is off: /instruction on resumes it.\n", "dim")


def _show(session: Session, compiled: Compiled, frame: Frame | None) -> None:
    parts = parts_of(compiled)
    blocks = list(dict.fromkeys(one.block for part in parts for one in part.stretches if one.block))
    colours = {block: COLOURS[number % len(COLOURS)] for number, block in enumerate(blocks)}
    for part in parts:
        if part.role:
            session.say(f"[{part.role}]\n", "dim")
        for one in part.stretches:
            session.say(one.text, colours[one.block] + (" underline" if one.name else "") if one.block else "dim")
        session.say("\n", "")
    tokens = tokens_by_block(compiled, frame)
    session.say("\n", "")
    for block in blocks:
        session.say(f"{block:<18}", colours[block])
        session.say(f"{tokens.get(block, 0):>6,} tokens\n" if tokens else "\n", "")
    if tokens:
        session.say(f"{'(template)':<18}{tokens.get('', 0):>6,} tokens\n", "dim")
    else:
        session.say("(as sent: the endpoint makes the model's text from it, out of our sight)\n", "dim")
    for block in compiled.empty:
        session.say(f"{block}: empty with these values, left out\n", "dim")
    for escape in compiled.escapes:
        names = ", ".join(escape.names)
        session.say(f"quoted: a value of {names} looked like a {escape.what}: {escape.text!r}\n", "yellow")
    for note in compiled.notes:
        session.say(f"{note}\n", "dim")
