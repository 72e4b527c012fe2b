"""Keys of a recipe: all there are, the nearest to one that was mistyped, and a value to show for each."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from heedlm.errors import nearest

# Values to show for keys whose default is nothing, and that no count would fit.
_EXAMPLES = {
    "start": "runs/first",
    "corpus.mix": "{echo: 1.0}",
    "data.sources": "[rows.jsonl]",
    "data.mixture": "{rows.jsonl: {cap: 1000}}",
    "data.decontaminate": "[items.jsonl]",
    "data.replay": "[texts.jsonl]",
    "templates.chat": "chatml",
    "templates.kwargs": "{enable_thinking: false}",
    "model.path": "atlas",
    "train.lr": "2e-5",
    "train.score": "[held_out]",
    "train.score_share": "0.1",
    "train.patience": "3",
    "tokens.max_tokens": "1024",
    "train.tokens_per_step": "8192",
}
_COUNT = "100"  # and for any other key without a default


def keys(kind: type[BaseModel]) -> list[str]:
    """Every key of a recipe, as `--set` takes it."""
    found = []
    for name, field in kind.model_fields.items():
        inner = _section(field.annotation)
        found += [name] if inner is None else [f"{name}.{key}" for key in keys(inner)]
    return found


def parts(kind: type[BaseModel], key: str, *, is_section: bool) -> list[str]:
    """The names that a key is made of: `data.mixture.rows.jsonl.cap` holds a name of the user's with a dot in it.

    is_section: the value is a whole section, not one field of it.
    """
    names = key.split(".")
    for at in range(1, len(names)):
        if _is_mapping(kind, names[:at]):
            end = len(names) if is_section or at + 1 == len(names) else len(names) - 1
            return [*names[:at], ".".join(names[at:end]), *names[end:]]
    return names


def _is_mapping(kind: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a mapping of sections, by names of the user's, stands there."""
    for name in path[:-1]:
        field = kind.model_fields.get(name)
        inner = _section(field.annotation) if field else None
        if inner is None:
            return False
        kind = inner
    field = kind.model_fields.get(path[-1])
    annotation = field.annotation if field else None
    return get_origin(annotation) is dict and any(_section(inner) for inner in get_args(annotation))


def like(kind: type[BaseModel], name: str) -> list[str]:
    """Keys whose last part is `name`, or near to it."""
    leaves: dict[str, list[str]] = {}
    for key in keys(kind):
        leaves.setdefault(key.rpartition(".")[2], []).append(key)
    return [key for leaf in get_close_matches(name, leaves, n=2, cutoff=0.75) for key in leaves[leaf]]


def example(kind: type[BaseModel], key: str) -> str:
    """``train.lr=2e-5``: a key with a value that it takes, its default where there is one.

    For a section its first key, for a place inside a value that value, for an unknown key any other.
    """
    known = keys(kind)
    beneath = [one for one in known if one.startswith(f"{key}.")]
    above = [one for one in known if f"{key}.".startswith(f"{one}.")]
    chosen = (above or beneath or ["train.lr"])[0]
    return f"{chosen}={_EXAMPLES.get(chosen) or _default(kind, chosen.split('.'))}"


def hint(kind: type[BaseModel], path: Sequence[str]) -> str:
    """What to write in place of an unknown key: the nearest name with an example of its use, or the names there are."""
    beside = fields_at(kind, path[:-1])
    near = get_close_matches(path[-1], beside, n=1)
    if any(part.isdigit() for part in path):  # inside an entry of a list, which --set gives whole
        return nearest(path[-1], beside)
    if near:
        key = ".".join([*path[:-1], *near])
        return f"{nearest(path[-1], beside)} For example --set {example(kind, key)}"
    elsewhere = like(kind, path[-1])
    if elsewhere:
        return f"did you mean {elsewhere[0]!r}? For example --set {example(kind, elsewhere[0])}"
    return nearest(path[-1], beside)


def fields_at(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Names of the fields inside a section, or inside the entries of a list or a mapping of sections; empty where there
    are none."""
    inside = False  # a mapping: what follows is a name of the user's
    for part in path:
        if inside:
            inside = False
            continue
        field = kind.model_fields.get(part)
        inside = field is not None and get_origin(field.annotation) is dict
        inner = field.annotation if field else None
        options = [inner, *get_args(inner)] if inner is not None else []
        found = [section for section in map(_section, options) if section is not None]
        if not found and part.isdigit():
            continue
        if not found:
            return []
        kind = found[0]
    return list(kind.model_fields)


def takes(kind: type[BaseModel], path: Sequence[str]) -> str:
    """What may stand at a key, in words: ``a number of at least 0 and below 1, a text or null``."""
    annotation: object = kind
    notes: Sequence[object] = ()
    for part in path:
        sections = [one for one in map(_section, [annotation, *get_args(annotation)]) if one is not None]
        field = next((one.model_fields[part] for one in sections if part in one.model_fields), None)
        if field is not None:
            annotation, notes = field.annotation, field.metadata
        else:  # an entry of a list or of a mapping, which may stand in a union
            members = [get_args(one)[0] if get_origin(one) is Annotated else one for one in get_args(annotation)]
            kinds = [one for one in (annotation, *members) if get_origin(one) in (tuple, list, dict)]
            entries = [one for one in get_args(kinds[0]) if one is not Ellipsis] if kinds else []
            annotation, notes = (entries[-1] if entries else object), ()
    return _in_words(annotation, notes)


_WORDS = {bool: "true or false", str: "a text", type(None): "null", tuple: "a list", list: "a list", dict: "a mapping"}


def _in_words(annotation: object, notes: Sequence[object] = ()) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _in_words(inner[0], inner[1:])
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        *most, last = sorted((_in_words(one) for one in inner), key=lambda words: words == "null")
        return f"{', '.join(most)} or {last}"
    if annotation in (int, float):
        flat = [one for note in notes for one in getattr(note, "metadata", [note])]
        finite = "finite " if any(getattr(one, "allow_inf_nan", True) is False for one in flat) else ""
        return f"a {'whole ' if annotation is int else finite}number{_bounds(flat)}"
    if _section(annotation) is not None:
        return "a section with settings in it"
    return next((words for kind, words in _WORDS.items() if kind in (origin, annotation)), "another value")


def _bounds(notes: Sequence[object]) -> str:
    said = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    found = [f"{words} {getattr(one, name):g}" for name, words in said.items() for one in notes if hasattr(one, name)]
    return " " + " and ".join(found) if found else ""


def _section(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _default(kind: type[BaseModel], path: Sequence[str]) -> str:
    field = kind.model_fields[path[0]]
    inner = _section(field.annotation)
    if inner is not None:
        return _default(inner, path[1:])
    if isinstance(field.default, tuple):
        return "[NAME]"
    if isinstance(field.default, (bool, int, float, str)) and field.default != "":
        return yaml.safe_dump(field.default).split()[0]
    return next((choice for choice in _choices(field.annotation) if isinstance(choice, str)), _COUNT)


def _choices(annotation: object) -> list[object]:
    """What the literals inside a type allow."""
    inner = get_args(annotation)
    return list(inner) if get_origin(annotation) is Literal else [one for part in inner for one in _choices(part)]
