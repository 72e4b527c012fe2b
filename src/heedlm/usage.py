"""What a mistyped command line should have been."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from heedlm.config import Recipe
from heedlm.errors import HeedError, Problem
from heedlm.keys import example, keys, like
from heedlm.pretrain_config import PretrainRecipe
from heedlm.runs import NO_SPACE

SETTABLE = frozenset(("demo", "prepare", "check", "show", "train", "eval", "pretrain"))
# The section of a recipe that each verb is about: where a name stands in several, its own comes first.
_OWN = {"prepare": "data.", "show": "templates.", "eval": "eval."}
# What other trainers call things; {} is the value that was given.
_ELSEWHERE = {
    "learning-rate": "train.lr={}",
    "num-train-epochs": "train.epochs={}",
    "batch": "train.tokens_per_step=8192",
    "batch-size": "train.tokens_per_step=8192",
    "steps": "train.max_steps={}",
    "max-length": "tokens.max_tokens={}",
    "max-seq-length": "tokens.max_tokens={}",
    "bf16": "train.precision=bf16",
    "fp32": "train.precision=fp32",
    "lora": "model.method=lora",
    "lora-r": "model.lora.rank={}",
    "template": "templates.chat={}",
    "chat-template": "templates.chat={}",
}
# What needs no option, or has another one here.
_SAID = {
    "resume": "the same command goes on with a run that was interrupted",
    "output": "did you mean --run?",
    "output-dir": "did you mean --run?",
    "out": "did you mean --run?",
    "config": "a recipe is named without an option: heed train RECIPE",
    "recipe": "a recipe is named without an option: heed train RECIPE",
    "dataset": "did you mean --data?",
}
# The same of verbs that no recipe sets.
_SAID_OF = {("synth", "name"): "the model's name stands behind the address: --model http://HOST/v1#NAME"}


def check_settings(given: Sequence[str]) -> None:
    """Raises HeedError for a `--set` with nothing behind it, and for `--set KEY VALUE`, whose value would be taken for the
    name of a recipe; and for rows or a setting that stand where a recipe would."""
    for place, word in enumerate(given):
        key, value = (*given[place + 1 : place + 3], "", "")[:2]
        if word != "--set" or "=" in key:
            continue
        if not key or key.startswith("-"):
            raise HeedError("Nothing stands behind --set.", "--set", f"--set {example(_kind(given), 'train.lr')}")
        apart = value != "" and not value.startswith("--") and not Path(value).is_file()
        found = [key] if key in keys(_kind(given)) else like(_kind(given), key.rpartition(".")[2])
        right = f"{(found or [key])[0]}={value}" if apart else example(_kind(given), found[0] if found else "train.lr")
        raise HeedError(
            f"This is not a setting: {f'{key} {value}' if apart else key!r}.",
            "--set",
            f"write KEY=VALUE in one word: --set {right}",
        )
    if given[:1] in (["prepare"], ["check"], ["train"]):
        _check_recipe(given)


def _check_recipe(given: Sequence[str]) -> None:
    """Raises HeedError for a recipe that is none: rows whose `--data` was forgotten, or a second setting behind one `--set`."""
    from heedlm.data.sources import ENDINGS

    for place, word in enumerate(given):
        if not place or given[place - 1].startswith("-") or word.startswith("-"):
            continue
        key = word.partition("=")[0]
        if "=" in word and (key in keys(_kind(given)) or "--set" in given) and not Path(word).exists():
            what = f"{word!r} stands by itself, and would be the name of a recipe."
            raise HeedError(
                what, " ".join(["heed", *given[:1]]), f"each setting has its own --set: --set {shlex.quote(word)}"
            )
        marks = {"config.json": "--model", "run.json": "--run"}
        option = next((one for mark, one in marks.items() if (Path(word) / mark).is_file()), "--data")
        if word.lower().endswith(ENDINGS) or Path(word).is_dir():
            what = {"--data": "Rows are", "--model": "A model is", "--run": "A run is"}[option]
            right = f"{option} {shlex.quote(word)}"
            whole = shlex.join(["heed", *given[:place], option, word, *given[place + 1 :]])
            right = f"each has its own {option}: {right}" if option in given else whole
            raise HeedError(f"{what} named with {option}; what stands by itself is a recipe.", word, right)


def unknown_option(given: Sequence[str], option: str, known: Sequence[str], called: str = "") -> Problem:
    """An option that a verb does not have: the option or the setting that was meant.

    given: the words after `heed`.   known: the options that the verb has.   called: the command, where it is in a group.
    """
    verb = given[0] if given and not given[0].startswith("-") else ""
    where = called or f"heed {verb}".strip()
    close = get_close_matches(option, known, n=1, cutoff=0.7) if option != "--set" else []
    bare = option.lstrip("-").replace("_", "-")
    told = _SAID.get(bare) if verb in SETTABLE else _SAID_OF.get((verb, bare))
    setting, sure = _setting(given, verb, option) if verb in SETTABLE else ("", False)
    if told:
        mend = told
    elif setting and (sure or not close):
        mend = f"a recipe's settings are given with --set: {where} --set {setting}"
    elif close:
        mend = f"did you mean {close[0]}?"
    else:
        mend = f"{where} --help lists the options"
        if verb in SETTABLE:
            mend += f"; a recipe's settings are given with --set: --set {example(_kind(given), 'train.lr')}"
    return Problem(f"There is no option {option}.", where, mend)


def mistake(error: Any, given: Sequence[str]) -> Problem:
    """Click's complaint about a command line as our own kind of message."""
    context = getattr(error, "ctx", None)
    command = getattr(context, "command", None)
    if type(error).__name__ == "NoSuchOption":
        known = [one for parameter in getattr(command, "params", ()) for one in parameter.opts]
        return unknown_option(given, error.option_name, known, _called(context))
    shown = [line.strip() for line in (getattr(command, "help", None) or "").splitlines() if "Example: " in line]
    group = f"{_called(context)} --help lists the commands"
    mend = shown[0].replace("Example: ", "for example: ") if shown else group
    return Problem(str(error.format_message()), _called(context), mend)


def not_written(error: OSError) -> Problem | None:
    """What the file system refused, in words; None where that is no matter of the place that the user chose."""
    if not error.filename:
        return None
    where, mend = str(error.filename), "name another place"
    if error.errno in NO_SPACE:
        return Problem("No space left on the disk.", where, "free some space, then run the same command again")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return Problem("Not allowed to read or write here.", where, f"{mend}, or change who may")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return Problem("A file is where a folder is needed.", where, mend)
    if error.errno == errno.EISDIR:
        return Problem("A folder is where a file is needed.", where, mend)
    return Problem("The name is too long.", where, mend) if error.errno == errno.ENAMETOOLONG else None


def _called(context: Any) -> str:
    """The command that a complaint is about, with the group it belongs to: ``heed data inspect``."""
    words: list[str] = []
    while context is not None and getattr(context, "parent", None) is not None:
        words.insert(0, str(context.command.name))
        context = context.parent
    return " ".join(["heed", *words])


def _setting(given: Sequence[str], verb: str, option: str) -> tuple[str, bool]:
    """``train.epochs=2`` for an option that reads like a key, and whether it is one to the letter; empty without one."""
    name = option.lstrip("-").replace("_", "-")
    value = _value(given, option)
    if verb != "eval" and name in _ELSEWHERE:
        known = _ELSEWHERE[name]
        return known.format(value) if value or "{}" not in known else example(_kind(given), known[: -len("={}")]), True
    kind = _kind(given)
    leaf = name.replace("-", "_").rpartition(".")[2]
    found = sorted(like(kind, leaf), key=lambda key: not key.startswith(_OWN.get(verb, "train.")))
    same = [key for key in found if key.rpartition(".")[2] == leaf]
    if not found:
        return "", False
    key = (same or found)[0]
    return (f"{key}={value}" if value else example(kind, key)), bool(same)


def _value(given: Sequence[str], option: str) -> str:
    """What was written behind an option, after "=" or as the next word; empty where nothing was."""
    for place, word in enumerate(given):
        name, equals, value = word.partition("=")
        if name == option:
            follows = next(iter(given[place + 1 : place + 2]), "")
            return value if equals else "" if follows.startswith("--") else follows
    return ""


def _kind(given: Sequence[str]) -> type[BaseModel]:
    return PretrainRecipe if given[:1] == ["pretrain"] else Recipe
