"""Templates in the language of Go, as far as a Modelfile of ours needs it: written, and carried out.

What is carried out: text, `{{ "literal" }}`, `{{ .Field }}`, `{{ $name := value }}`, `{{ $name = value }}`, `{{ range
.Messages }}`, and `{{ if eq value value }}` with `else if`, `else` and `end`. Compared with Go itself in a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from heedlm.errors import HeedError
from heedlm.exports.turns import Turns

_ACTION = re.compile(r'\{\{((?:[^}"]|"(?:\\.|[^"\\])*"|\}(?!\}))*)\}\}', re.DOTALL)
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\S+')
Scope = dict[str, object]


def written(turns: Turns, without: str = "") -> str:
    """The template that writes what `turns` says.   without: a text taken off the very beginning (a BOS that the runtime adds)."""
    between = {pair: literal(_begun(pair, text, without)) for pair, text in turns.between.items()}
    user = _chosen("user", between)
    system = (
        f'{{{{ if eq .Role "system" }}}}{between["", "system"]}{{{{ .Content }}}}' if ("", "system") in between else ""
    )
    opening = f"{system}{{{{ else if" if system else "{{ if"
    return (
        '{{ $last := "" }}{{ range .Messages }}'
        f'{opening} eq .Role "user" }}}}{user}{{{{ .Content }}}}'
        f'{{{{ else if eq .Role "assistant" }}}}{between["user", "assistant"]}{{{{ .Content }}}}{{{{ end }}}}'
        "{{ $last = .Role }}{{ end }}"
        f'{{{{ if eq $last "user" }}}}{between["user", "end"]}{{{{ end }}}}'
    )


def _begun(pair: tuple[str, str], text: str, without: str) -> str:
    return text.removeprefix(without) if pair[0] == "" else text


def _chosen(role: str, between: Mapping[tuple[str, str], str]) -> str:
    """What stands before a turn of `role`, by the role of the turn before it."""
    ways = {before: text for (before, after), text in between.items() if after == role}
    usual = ways.pop("assistant")
    found = ""
    for before, text in ways.items():
        if text != usual:
            found += f'{{{{ {"else if" if found else "if"} eq $last "{before}" }}}}{text}'
    return f"{found}{{{{ else }}}}{usual}{{{{ end }}}}" if found else usual


def literal(text: str) -> str:
    """`text` as a template that writes it."""
    return "".join(
        f"{{{{ {json.dumps(part, ensure_ascii=False)} }}}}" if part == "{{" else part
        for part in re.split(r"(\{\{)", text)
    )


def execute(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """What the template makes of messages with `Role` and `Content`. Raises HeedError for what it cannot read."""
    parts = list(_parts(template))
    scope: Scope = {".Messages": messages}
    text, end = _run(parts, 0, scope)
    assert end == len(parts), "every part of a template is carried out"
    return text


def _parts(template: str) -> Iterator[tuple[str, list[str]]]:
    """Text ("", [text]) and actions (keyword, words) in order."""
    at = 0
    for match in _ACTION.finditer(template):
        if match.start() > at:
            yield "", [template[at : match.start()]]
        words = _WORD.findall(match[1])
        yield (words[0] if words[:1] and words[0] in ("range", "if", "else", "end") else "do"), words
        at = match.end()
    if at < len(template):
        yield "", [template[at:]]


def _run(parts: Sequence[tuple[str, list[str]]], at: int, scope: Scope, live: bool = True) -> tuple[str, int]:
    """Carry out parts up to the `else` or `end` that closes them, or to the last; the text, and where it stopped."""
    out: list[str] = []
    while at < len(parts):
        kind, words = parts[at]
        if kind in ("else", "end"):
            break
        if kind == "":
            out += words if live else []
            at += 1
        elif kind == "if":
            text, at = _branch(parts, at, scope, live)
            out.append(text)
        elif kind == "range":
            text, at = _loop(parts, at, scope, live)
            out.append(text)
        else:
            out += [_do(words, scope)] if live else []
            at += 1
    return "".join(out), at


def _branch(parts: Sequence[tuple[str, list[str]]], at: int, scope: Scope, live: bool) -> tuple[str, int]:
    """An `if` with all its branches; at: where it begins. Returns the place behind its `end`."""
    text, open_ = "", live
    words = parts[at][1]
    while True:
        taken = open_ and _holds(words, scope)
        found, at = _run(parts, at + 1, scope, taken)
        text, open_ = text + found, open_ and not taken
        kind, words = parts[at]
        if kind == "end":
            return text, at + 1
        words = words[1:] or ["else"]


def _loop(parts: Sequence[tuple[str, list[str]]], at: int, scope: Scope, live: bool) -> tuple[str, int]:
    items = scope[parts[at][1][1]] if live else []
    assert isinstance(items, Sequence)
    out = []
    _, end = _run(parts, at + 1, scope, live=False)
    for item in items:
        scope |= {f".{key}": value for key, value in item.items()}
        text, end = _run(parts, at + 1, scope)
        out.append(text)
    return "".join(out), end + 1


def _holds(words: Sequence[str], scope: Scope) -> bool:
    if list(words) == ["else"]:
        return True
    if len(words) != 4 or words[:2] != ["if", "eq"]:
        raise HeedError(f"This condition of a Go template is not one of ours: {' '.join(words)}.", "TEMPLATE")
    return _value(words[2], scope) == _value(words[3], scope)


def _do(words: Sequence[str], scope: Scope) -> str:
    """An assignment, which writes nothing, or a value."""
    if len(words) == 3 and words[1] in (":=", "="):
        scope[words[0]] = _value(words[2], scope)
        return ""
    if len(words) != 1:
        raise HeedError(f"This action of a Go template is not one of ours: {' '.join(words)}.", "TEMPLATE")
    return str(_value(words[0], scope))


def _value(word: str, scope: Scope) -> object:
    if word.startswith('"'):
        return json.loads(word)
    if word not in scope:
        raise HeedError(f"A Go template of ours has no {word}.", "TEMPLATE")
    return scope[word]
