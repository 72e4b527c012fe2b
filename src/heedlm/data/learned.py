"""The card of what is learned: tokens by source and what the mixture leaves out, as pages for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heedlm.data.sheet import Block, as_markdown, as_page, inline

TITLE = "What is learned"


def pages(index: Mapping[str, Any]) -> dict[str, str]:
    """card.md and card.html of a token store.   index: its facts (tokens.tokenise)."""
    return {"card.md": as_markdown(TITLE, blocks(index)), "card.html": as_page(TITLE, blocks(index))}


def blocks(index: Mapping[str, Any]) -> Iterator[Block]:
    """What there is to say, in order."""
    counts, sources = index["counts"], index["sources"]
    train, replay = counts["train"], counts.get("replay")
    text = (
        f"One epoch holds {train['sequences']:,} sequences of {train['rows']:,} different rows: {train['tokens']:,} tokens, "
        f"of which {train['learned_tokens']:,} are learned ({_share(train['learned_tokens'], train['tokens'])})."
    )
    if train["left_out"]:
        text += f" The mixture leaves out {train['left_out']:,} rows."
    if replay:
        text += f" Beside them stand {replay['tokens']:,} tokens of plain documents."
    yield Block(text=text)
    yield Block(
        "Sources in one epoch",
        "An epoch of training is the mixture once. Epochs of a source are its rows seen, repeats counted, over its rows "
        "there; learned is the share of its tokens that is taught.",
        head=(
            "source",
            "rows seen",
            "of rows there",
            "epochs",
            "share of rows",
            "tokens",
            "share of tokens",
            "learned",
        ),
        rows=tuple(_row(name, one) for name, one in sources.items()),
        bars=(1, 5),
    )
    left = [
        (name, reason, f"{found['rows']:,}", f"{found['tokens']:,}")
        for name, one in sources.items()
        for reason, found in one["left_out"].items()
    ]
    left += [
        (name, "longer than tokens.max_tokens", f"{one['too_long']:,}", "")
        for name, one in sources.items()
        if one["too_long"]
    ]
    if left:
        yield Block("Left out", head=("source", "by", "rows", "tokens"), rows=tuple(left), bars=(2,))
    asked = [f"{name}: {_asked(one['asked'])}" for name, one in sources.items() if one["asked"]]
    if asked:
        yield Block("As asked for", lines=tuple(asked))
    template = index["template"]
    system = template["system"]
    words = f"where a row has none, it adds a system text: `{inline(system)}`" if system else "it adds no system text"
    yield Block("Chat template", f"{template['name']} ({template['grade']}); {words}.")


def _row(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{one['seen']:,}",
        f"{one['rows']:,}",
        f"{one['epochs']:.4g}",
        f"{one['share']:.1%}",
        f"{one['seen_tokens']:,}",
        f"{one['token_share']:.1%}",
        _share(one["seen_learned_tokens"], one["seen_tokens"]),
    )


def _share(part: int, of: int) -> str:
    return f"{part / of:.0%}" if of else "none"


def _asked(asked: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value:g}" for key, value in asked.items()
    )
