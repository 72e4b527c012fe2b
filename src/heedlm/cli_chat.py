"""The command `heed chat`: a conversation in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heedlm.errors import HeedError
from heedlm.runs import DEMO
from heedlm.screen import Screen

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
NoHistory = Annotated[bool, typer.Option("--no-history", help="Keep nothing of what is typed for the next time.")]


def chat(
    model: Model = DEMO,
    base: Base = None,
    name: Name = "default",
    system: System = None,
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
    from heedlm.messages import Chat, Sampling
    from heedlm.serve.keyboard import history_file
    from heedlm.serve.opening import check_protocol, is_endpoint, model_behind, open_chat, open_endpoint
    from heedlm.serve.session import Keeping
    from heedlm.serve.terminal import terminal_chat

    if model == DEMO and not Path(model).exists():
        raise HeedError(
            "There is no demo run here yet.", model, "heed demo   (minutes), or name a model: heed chat MODEL"
        )
    behind = None
    if is_endpoint(model):
        if template is not None:
            raise HeedError("An endpoint makes the model's text itself.", "--template", "leave --template away")
        url, _, named = model.partition("#")
        opened: Chat = open_endpoint(url, named or name)
    else:
        check_protocol(model)
        from heedlm.model.load import resolve
        from heedlm.model.save import read_card

        path = resolve(model)
        behind = model_behind(path, base)
        if read_card(path).get("kind") == "base":
            Screen().say("This is a base model: it continues text, and was never taught to answer or to stop.")
        opened = open_chat(model, template)
    terminal_chat(
        opened,
        base=behind,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed or 0),
        system=system,
        keeping=Keeping(store, author or _who()),
        history=None if no_history else history_file(),
    )


def _who() -> str:
    """The name of who is logged in; rows need an author, and this is what is known of one."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user's entry
        return "unknown"
