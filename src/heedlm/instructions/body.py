"""From the text of a file to its blocks: roles first, then headings, then attributes; no value is ever looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from heedlm.errors import Problem, nearest
from heedlm.instructions.blocks import Block, Ignore
from heedlm.instructions.kinds import KINDS, NAMES, Place, kind_of, words_of
from heedlm.instructions.values import mend_of, wording
from heedlm.templates.sandbox import FillError

# The role line of Prompty files, blanks, a hash before it and attributes behind it included.
ROLE = re.compile(r"\s*(?:#\s*)?(system|user|assistant|developer)(\[[^\]]*\])?\s*:\s*", re.IGNORECASE)
HEADING = re.compile(r"#[ \t]+(?P<title>.*?)[ \t]*(?:\{#(?P<attributes>.*?)#\})?[ \t]*")
ALONE = re.compile(r"[ \t]*\{#(?P<attributes>\s*(?:id|kind)\s*=.*?)#\}[ \t]*")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
IGNORE = re.compile(r"\{#-?\s*heed:\s*ignore\b(?P<what>.*?)-?#\}", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([A-Za-z_][\w-]*)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"']+))?""")
_KEYS = ("id", "kind", "frozen", "optional", "repeat", "slot", "max")
_ID = re.compile(r"[a-z][a-z0-9_-]*")
_TAG_LINE = re.compile(r"[ \t]*<(/?)([A-Za-z][\w.-]*)(?:\s[^<>]*)?>[ \t]*")


class Fault(NamedTuple):
    """What keeps a file from being read as it is. rule: the linter's id for it."""

    rule: str
    problem: Problem


class Line(NamedTuple):
    number: int
    text: str


class Section(NamedTuple):
    """One message of a file. line: of its role line."""

    role: Place
    line: int
    lines: tuple[Line, ...]


def read_body(text: str, file: str, first: int = 1) -> tuple[list[Block], list[Ignore], list[Fault]]:
    """The blocks of the text behind the front matter, suppressions in it, and everything that is wrong.

    first: the number of its first line in `file`.
    """
    faults: list[Fault] = []
    ignores: list[Ignore] = []
    sections = _sections(text, first)
    blocks: list[Block] = []
    taken: set[str] = set()
    for turn, section in enumerate(sections):
        for block in _blocks(section, turn, sections, file, faults):
            block = _named(block, taken, faults)
            taken.add(block.id)
            ignores += _ignores(block, faults)
            faults += _faults(block)
            blocks.append(block)
    if not blocks:
        mend = "write system: on a line of its own, and under it # Task and what to do"
        faults.append(Fault("HD100", Problem("the file holds no text for a model", f"{file}:{first}", mend)))
    return blocks, ignores, faults


def _sections(text: str, first: int) -> list[Section]:
    found: list[Section] = []
    role: Place = "system"  # what stands before any role line, as in every Prompty runtime
    start, held = first, list[Line]()

    def close() -> None:
        if any(line.text.strip() for line in held):
            found.append(Section(role, start, tuple(held)))

    for number, line in enumerate(text.split("\n"), start=first):
        match = ROLE.fullmatch(line)
        if match is None:
            held.append(Line(number, line))
            continue
        close()
        name = match[1].lower()
        role = "user" if name == "user" else "assistant" if name == "assistant" else "system"
        start, held = number, []
    close()
    return found


class _Open(NamedTuple):
    title: str
    attributes: str | None
    line: int


def _blocks(
    section: Section, turn: int, sections: Sequence[Section], file: str, faults: list[Fault]
) -> Iterator[Block]:
    """Cut at headings of the first level, and at attributes that stand alone; not inside fences, comments or raw text."""
    opened, held = _Open("", None, section.lines[0].number), list[Line]()
    fence, inside = "", ""
    for line in section.lines:
        starts = None
        if not fence and not inside:
            starts = HEADING.fullmatch(line.text) or ALONE.fullmatch(line.text)
        if starts is not None:
            yield from _closed(opened, held, section, turn, sections, file, faults)
            title = starts.groupdict().get("title") or ""
            opened, held = _Open(title, starts["attributes"], line.number), []
            continue
        mark = FENCE.match(line.text)
        if mark is not None and not inside:
            if not fence:
                fence = mark[1]
            elif mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and line.text.strip() == mark[1]:
                fence = ""
        inside = _inside(inside, line.text)
        held.append(line)
    yield from _closed(opened, held, section, turn, sections, file, faults)


def _inside(inside: str, text: str) -> str:
    """The mark that closes what a line leaves open: a comment or raw text of Jinja; "" for nothing."""
    at = 0
    while True:
        if inside:
            found = re.compile(r"\{%-?\s*endraw\s*-?%\}" if inside == "raw" else "#}").search(text, at)
        else:
            found = re.compile(r"\{#|\{%-?\s*raw\s*-?%\}").search(text, at)
        if found is None:
            return inside
        inside = "" if inside else "comment" if found[0] == "{#" else "raw"
        at = found.end()


def _closed(
    opened: _Open,
    held: Sequence[Line],
    section: Section,
    turn: int,
    sections: Sequence[Section],
    file: str,
    faults: list[Fault],
) -> Iterator[Block]:
    lines = list(held)
    while lines and not lines[0].text.strip():
        lines.pop(0)
    while lines and not lines[-1].text.strip():
        lines.pop()
    if not lines and not opened.title and opened.attributes is None:
        return
    where = f"{file}:{opened.line}"
    block = Block(
        id="",
        kind=_kind_by_place(section, turn, sections, opened.title, bool(held)),
        text="\n".join(line.text.rstrip() for line in lines),
        title=opened.title,
        role=section.role,
        turn=turn,
        file=file,
        line=opened.line,
        text_line=lines[0].number if lines else opened.line + 1,
    )
    yield _attributed(block, opened, where, faults)


def _kind_by_place(section: Section, turn: int, sections: Sequence[Section], title: str, _: bool) -> str:
    """What a text without a heading is, by where it stands."""
    if title:
        return ""
    if section.role == "system":
        headings = (HEADING.fullmatch(line.text) for line in section.lines)
        kinds = [kind_of(match["title"]) for match in headings if match is not None]
        return "role" if any(kind is not None and kind.name == "task" for kind in kinds) else "task"
    later = [one.role for one in sections[turn + 1 :]]
    if section.role == "user":
        return "examples" if "user" in later else "data"
    if not later:
        return "cue"
    earlier = [one.role for one in sections[:turn]]
    return "examples" if "user" in earlier else "init"


def _attributed(block: Block, opened: _Open, where: str, faults: list[Fault]) -> Block:
    given: dict[str, str | None] = {}
    for name, value in _ATTRIBUTE.findall(opened.attributes or ""):
        given[name] = value.strip("\"'") if value else None
    for name in given:
        if name not in _KEYS:
            faults.append(Fault("HD100", Problem(f"a block has no attribute {name!r}", where, nearest(name, _KEYS))))
    kind = given.get("kind") or ""
    if kind and kind not in KINDS:
        faults.append(Fault("HD100", Problem(f"unknown kind of block {kind!r}", where, nearest(kind, KINDS))))
        kind = "context"
    if not kind:
        known = kind_of(opened.title) or kind_of(given.get("id") or "")
        kind = known.name if known is not None else block.kind
    if not kind:
        mend = f"{_near(opened.title)}; or say what it is: # {opened.title} {{# kind=context #}}"
        faults.append(Fault("HD100", Problem(f"unknown block {opened.title!r}", where, mend)))
        kind = "context"
    id_ = given.get("id") or ""
    if id_ and not _ID.fullmatch(id_):
        mend = "small letters, digits, _ and -, such as output_format"
        faults.append(Fault("HD100", Problem(f"a block cannot be called {id_!r}", where, mend)))
    for name, wanted in (("repeat", "end"), ("slot", "examples")):
        if name in given and given[name] != wanted:
            what = f"{name} is {given[name]!r}"
            faults.append(Fault("HD100", Problem(what, where, f"{name}={wanted}")))
    most = given.get("max") or "0"
    if "max" in given and not (most.isdigit() and int(most)):
        faults.append(Fault("HD100", Problem(f"max is {given['max']!r}", where, "a number from 1, such as max=4")))
        most = "0"
    return replace(
        block,
        id=id_,
        kind=kind,
        frozen="frozen" in given,
        optional="optional" in given,
        repeat="end" if given.get("repeat") == "end" else "",
        slot="examples" if given.get("slot") == "examples" else "",
        most=int(most),
    )


def _near(title: str) -> str:
    hint = nearest(words_of(title), NAMES)
    return hint if hint.startswith("did") else "known: " + ", ".join(kind.title for kind in KINDS.values())


def _named(block: Block, taken: set[str], faults: list[Fault]) -> Block:
    """With an id: the given one, else one made of the title; what has neither is numbered."""
    if block.id or block.title:
        id_ = block.id or words_of(block.title).replace(" ", "_") or block.kind
        if not _ID.fullmatch(id_):
            id_ = block.kind
        if id_ in taken:
            mend = f"give one of them a name of its own: {{# id={id_}_2 #}}"
            faults.append(Fault("HD104", Problem(f"two blocks are called {id_!r}", block.at(0), mend)))
            id_ = _free(id_, taken)
        return replace(block, id=id_)
    return replace(block, id=_free(block.kind, taken))


def _free(id_: str, taken: set[str]) -> str:
    number = 2
    found = id_
    while found in taken:
        found, number = f"{id_}_{number}", number + 1
    return found


def _ignores(block: Block, faults: list[Fault]) -> Iterator[Ignore]:
    for match in IGNORE.finditer(block.text):
        line = block.text_line + block.text[: match.start()].count("\n")
        given = {name: value.strip("\"'") for name, value in _ATTRIBUTE.findall(match["what"])}
        rules = [name for name in given if re.fullmatch(r"HD\d{3}", name)]
        if not rules or not given.get("reason"):
            mend = '{# heed: ignore HD202 reason="why it is right here" #}'
            what = "a rule is switched off without its id" if not rules else "a rule is switched off without a reason"
            faults.append(Fault("HD001", Problem(what, f"{block.file}:{line}", mend)))
            continue
        for rule in rules:
            yield Ignore(rule, given["reason"], block.id, line)


def _faults(block: Block) -> Iterator[Fault]:
    """Tags and fences that do not close inside their block."""
    try:
        wording(block.text)
    except FillError as error:
        where = block.at(error.line or 1)
        yield Fault("HD105", Problem(f"block {block.id!r}: {error.what}", where, mend_of(error)))
    fence, line = open_fence(block.text)
    if fence:
        mend = f"close it with {fence}"
        yield Fault("HD105", Problem(f"block {block.id!r}: a fence is not closed", block.at(line), mend))
    for what, number, mend in _open_tags(block.text):
        yield Fault("HD105", Problem(f"block {block.id!r}: {what}", block.at(number), mend))


def open_fence(text: str) -> tuple[str, int]:
    """The fence that a text leaves open, and its line from 1; ("", 0) where all are closed."""
    fence, at = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        mark = FENCE.match(line)
        if mark is None:
            continue
        if not fence:
            fence, at = mark[1], number
        elif mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and line.strip() == mark[1]:
            fence, at = "", 0
    return fence, at


def _open_tags(text: str) -> Iterator[tuple[str, int, str]]:
    """Tags on lines of their own that do not pair up; tags in a sentence are words about tags."""
    stack: list[tuple[str, int]] = []
    fence = ""
    for number, line in enumerate(text.split("\n"), start=1):
        mark = FENCE.match(line)
        if mark is not None:
            fence = "" if fence else mark[1]
        match = None if fence else _TAG_LINE.fullmatch(line)
        if match is None:
            continue
        closing, name = match[1], match[2]
        if not closing:
            stack.append((name, number))
        elif stack and stack[-1][0] == name:
            stack.pop()
        else:
            names = [one for one, _ in stack]
            mend = f"close <{names[-1]}> first" if names else f"open it with <{name}>, or take it out"
            yield f"</{name}> closes nothing", number, mend
            stack = [one for one in stack if one[0] != name]
    for name, number in stack:
        yield f"<{name}> is not closed", number, f"close it with </{name}>"
