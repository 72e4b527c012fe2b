"""What a run folder holds from earlier: nothing, a run that can go on, or a finished one that stays as it is."""

from __future__ import annotations

from typing import Any

from heedlm.errors import HeedError
from heedlm.runs import Run

# Keys that do not enter into the weights: a run may go on with other values, for example after a full disk.
FREE_KEYS = ("eval.", "train.checkpoint_every", "train.keep_checkpoints", "train.spike", "train.sink", "train.parallel")
SHOWN = 8  # keys that differ, before the rest is counted


def finished(run: Run) -> bool:
    """Whether a training of this folder came to its end, and its model still stands."""
    return bool({"train_result", "pretrain_result"} & run.info().keys()) and (run.model / "config.json").is_file()


def begun(run: Run) -> bool:
    """Whether there is work to go on from; a run that stopped before its first step has none, and may change its mind."""
    return any(int(path.name.removeprefix("step-")) > 0 for path in run.checkpoints.glob("step-*"))


def taken(run: Run) -> bool:
    """Whether its data and its recipe are no longer free to change."""
    return finished(run) or begun(run)


def check_same_recipe(run: Run, text: str) -> None:
    """Refuse to go on with a run, or to replace a finished one, under another recipe; names the keys that differ."""
    import yaml

    if not taken(run):
        return
    before = _flat(yaml.safe_load(run.recipe.read_text("utf8"))) if run.recipe.is_file() else {}
    now = _flat(yaml.safe_load(text))
    keys = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k) and not k.startswith(FREE_KEYS))
    keys = [k for k in keys if k.endswith(".path") or f"{k.rpartition('.')[0]}.path" not in keys or k[:5] != "data."]
    if keys:  # of a source that is another one, its path says enough
        listed = ", ".join(f"{k} (was {before.get(k)!r}, now {now.get(k)!r})" for k in keys[:SHOWN])
        listed += f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
        did = "finished" if finished(run) else "begun"
        raise HeedError(f"This run was {did} with another recipe: {listed}.", str(run.root), how_anew(run))


def check_same_tokens(run: Run, key: str) -> None:
    """Refuse to go on with a run on other tokens than it was begun with: its position would point into other rows."""
    before = run.info().get("tokens")
    if before is not None and before != key and taken(run):
        what = "The rows or what they are tokenised with have changed since this run was begun."
        raise HeedError(what, str(run.root), f"put the data back; {how_anew(run)}")


def how_anew(run: Run) -> str:
    """What to do with a folder that is taken."""
    if finished(run):
        return f"to train anew name another --run folder, or remove this one first: rm -r {run.root}"
    return "use the same recipe to go on, or another --run folder to start anew"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Keys with their values. What is null or empty says nothing: a recipe of before a key was there lacks it."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()}
    return {} if value in (None, []) else {prefix.rstrip("."): value}
