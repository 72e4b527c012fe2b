"""Parameters that keep their values: named by pattern, counted, never all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from heedlm.errors import HeedError, Problem, nearest


def freeze(model: nn.Module, patterns: Sequence[str], say: Callable[[str], None] = lambda line: None) -> None:
    """Take the gradient from every parameter that a pattern names, and say how many weights that are.

    A pattern is whole parts of a dotted name, with `*`, `?` and `[...]` as in file names: `embed_tokens` is that layer
    wherever it stands, `layers.0.*` all of the first block, `*norm*` every part with norm in it. A tied matrix goes by
    each of its names, and is frozen for all of them.
    Raises HeedError with every pattern that matches nothing, and when nothing is left to train.
    """
    if not patterns:
        return
    names = dict(model.named_parameters(remove_duplicate=False))
    problems: list[Problem] = []
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(f".{name}.", f"*.{pattern}.*")]
        if not matching:
            parts = {part for name in names for part in name.split(".") if not part.isdigit()}
            what = f"No parameter of this model is called {pattern!r}."
            problems.append(Problem(what, "model.freeze", nearest(pattern, parts)))
        for name in matching:
            names[name].requires_grad_(False)
    if problems:
        raise HeedError.of(problems)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    if len(frozen) == len(list(model.parameters())):
        raise HeedError(
            "Every parameter of this model is frozen: nothing is left to train.", "model.freeze", "name fewer patterns"
        )
    say(f"{sum(p.numel() for p in frozen) / 1e6:.2f}M weights in {len(frozen):,} parameters are frozen, as asked")
