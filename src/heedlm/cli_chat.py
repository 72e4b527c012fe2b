"""The command `heed chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedlm.errors import HeedError, nearest
from heedlm.runs import DEMO
from heedlm.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from heedlm.instructions.blocks import Input
    from heedlm.instructions.policy import Policy
    from heedlm.messages import Chat

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, `atlas`, or an endpoint's URL.")]
Base = Annotated[
    str | None, typer.Option("--base", help="The model behind /base (default: what the run was tuned from).")
]
Name = Annotated[
    str, typer.Option("--name", help="The model's name at an endpoint (default: the only one that it serves).")
]
System = Annotated[str | None, typer.Option("--system", help="A system text to begin with.")]
Template = Annotated[str | None, typer.Option("--template", help="A chat template instead of the model's own.")]
Temperature = Annotated[float, typer.Option("--temperature", help="0 is greedy.", min=0.0)]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longest answer.", min=1)]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything that is drawn.")]
Author = Annotated[
    str | None, typer.Option("--author", help="Who vouches for rows of /save (default: who is logged in).")
]
Store = Annotated[Path, typer.Option("--store", help="Where /save writes: a store of heed data.")]
Instruction = Annotated[
    str | None,
    typer.Option("--instruction", help="A .prompty file, or a name of `heed prompt list`, behind the conversation."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="NAME=TEXT or NAME=@FILE: an input of the instruction; you are asked for the others."),
]
Placement = Annotated[
    str | None, typer.Option("--placement", help="Where the instruction stands: system, or user (the first message).")
]
NoHistory = Annotated[bool, typer.Option("--no-history", help="Keep nothing of what is typed for the next time.")]


def chat(
    model: Model = DEMO,
    base: Base = None,
    name: Name = "default",
    system: System = None,
    instruction: Instruction = None,
    inputs: Inputs = None,
    placement: Placement = None,
    template: Template = None,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = None,
    author: Author = None,
    store: Store = Path("human.jsonl"),
    no_history: NoHistory = False,
) -> None:
    """Talk to a model, and to what it was before; compare, correct and save its answers: /help lists what there is.

    Example: heed chat runs/demo   (or: heed chat http://127.0.0.1:8000/v1 --name my-model)
    """
    from heedlm.messages import Sampling
    from heedlm.serve.keyboard import history_file
    from heedlm.serve.session import Keeping
    from heedlm.serve.terminal import terminal_chat

    if model == DEMO and not Path(model).exists():
        raise HeedError(
            "There is no demo run here yet.", model, "heed demo   (minutes), or name a model: heed chat MODEL"
        )
    policy = _policy(instruction, inputs or [], placement)
    opened, behind = _opened(model, base, name, template)
    terminal_chat(
        opened,
        base=behind,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed or 0),
        system=system,
        policy=policy,
        keeping=Keeping(store, author or _who()),
        history=None if no_history else history_file(),
    )


def _opened(model: str, base: str | None, name: str, template: str | None) -> tuple[Chat, Callable[[], Chat] | None]:
    """The model, and how to load the one behind /base. Raises HeedError for what is not there."""
    from heedlm.serve.opening import check_protocol, is_endpoint, model_behind, open_chat, open_endpoint

    if is_endpoint(model):
        if template is not None:
            raise HeedError("An endpoint makes the model's text itself.", "--template", "leave --template away")
        url, _, named = model.partition("#")
        return open_endpoint(url, named or name), None
    check_protocol(model)
    from heedlm.model.load import resolve
    from heedlm.model.save import read_card

    path = resolve(model)
    behind = model_behind(path, base)
    if read_card(path).get("kind") == "base":
        Screen().say("This is a base model: it continues text, and was never taught to answer or to stop.")
    return open_chat(model, template), behind


def _policy(name: str | None, inputs: list[str], placement: str | None) -> Policy | None:
    """The instruction behind the conversation, its values given or asked for; None for none. Raises HeedError."""
    from heedlm.instructions.layout import PLACEMENTS

    if placement is not None and placement not in PLACEMENTS:
        raise HeedError(f"--placement is {placement!r}", "--placement", nearest(placement, PLACEMENTS))
    if name is None:
        if inputs:
            raise HeedError("--input belongs to --instruction.", "--input", "--instruction FILE, or leave it out")
        return None
    from heedlm.instructions.format import load
    from heedlm.instructions.given import values_of
    from heedlm.instructions.policy import needs, policy_of

    found = load(name)
    values = values_of(found, inputs)
    if sys.stdin.isatty():
        for one in needs(found, values).missing:
            values[one.name] = _asked(one, lambda pair: values_of(found, [pair]))
    return policy_of(found, values, placement)


def _asked(one: Input, read: Callable[[str], dict[str, Any]]) -> Any:
    """A value for an input, asked for until it is one of its kind."""
    from heedlm.instructions.blocks import MISSING

    told = ", ".join(map(str, one.enum)) if one.enum else one.kind
    example = f", such as {one.example!r:.60}" if one.example is not MISSING else ""
    while True:
        text = str(typer.prompt(f"{one.name} ({one.about or told}{example})"))
        try:
            value = read(f"{one.name}={text}")[one.name]
        except HeedError as error:
            Screen().refuse(error)
            continue
        if not one.enum or value in one.enum:
            return value
        Screen().refuse(f"{value!r} is none of {told}.")


def _who() -> str:
    """The name of who is logged in; rows need an author, and this is what is known of one."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user's entry
        return "unknown"
