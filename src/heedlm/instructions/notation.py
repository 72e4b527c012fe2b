"""How a block is written: four notations, the marks around a value, and what a value may not look like."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from heedlm.instructions.blocks import Block, Delimit, Notation
from heedlm.instructions.body import FENCE
from heedlm.instructions.kinds import KINDS, NAMES, words_of
from heedlm.instructions.values import Piece

# Everything that some reader takes for the end of a line.
BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_START = f"(?:^|(?<=[{BREAKS}]))"
_BLANK = f"[^\\S{BREAKS}]*"
_REST = f"[^{BREAKS}]*"
_HEADING = re.compile(f"{_START}{_BLANK}#{{1,6}}(?=\\s|[*_])(?P<name>{_REST})")
_UNDERLINED = re.compile(
    f"{_START}{_BLANK}(?P<name>[^>\\s]{_REST})(?:\r\n|[{BREAKS}]){_BLANK}(?:=+|-+){_BLANK}(?=[{BREAKS}]|$)"
)
_LABEL = re.compile(f"{_START}{_BLANK}(?P<name>[^:：>\\s][^:：{BREAKS}]{{0,500}})[:：]")
_FENCE_LINE = re.compile(f"{_START}{_BLANK}(?P<name>`{{3,}}|~{{3,}})")
_MARKUP = re.compile(r"<(?=!--|!\[|\?)")
# Texts that some tokenizer turns into one control token; where the tokenizer is known its own are used as well.
CONTROL = re.compile(
    r"<[|｜][^|｜<>\s]{1,60}[|｜]>|</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
    r"|</?(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|think|tool_call|tool_response)>"
)
QUOTE = "> "
# Characters that are not shown: of direction, width, variation, and those that are left out when a text is compared.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_RUN = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")


class Escape(NamedTuple):
    """A place where a value looked like structure and was kept from being it. what: "heading", "label", "tag" ..."""

    what: str
    names: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Guard:
    """What counts as structure where a text will stand.

    titles: names of blocks, as `words_of` gives them.   labels: of lines such as ``Input:``.   tags: names of XML tags.
    marks: what opens a turn in a soft format, at the start of a line.   control: texts of control tokens.
    """

    notation: Notation
    titles: frozenset[str]
    labels: frozenset[str]
    tags: re.Pattern[str] | None
    marks: re.Pattern[str] | None
    control: re.Pattern[str] | None


def guard_for(
    notation: Notation,
    blocks: Iterable[Block],
    *,
    inputs: Iterable[str] = (),
    labels: Iterable[str] = (),
    marks: Sequence[str] = (),
    control: re.Pattern[str] | None = CONTROL,
) -> Guard:
    """inputs: names that may become tags.   labels: of shots.   marks: see `Guard`.   control: None where ids are safe."""
    blocks = tuple(blocks)
    titles = {*NAMES, *(words_of(block.title) for block in blocks), *(words_of(block.id) for block in blocks)} - {""}
    named = {*KINDS, *(block.id for block in blocks), *inputs, *("example", "input", "output")}
    tags = "|".join(sorted(map(re.escape, named), key=len, reverse=True))
    return Guard(
        notation=notation,
        titles=frozenset(titles) if notation in ("markdown", "label") else frozenset(),
        labels=frozenset(map(words_of, labels)) | (frozenset(titles) if notation == "label" else frozenset()),
        tags=re.compile(rf"<(?=\s*(?:/\s*)?(?:{tags})(?![\w-]))", re.IGNORECASE) if notation == "xml" else None,
        marks=_mark_pattern(marks),
        control=control,
    )


def _mark_pattern(marks: Sequence[str]) -> re.Pattern[str] | None:
    """Marks of signs (``<|user|>``) count anywhere in a text, marks of words at the start of a line."""
    found = []
    for mark in marks:
        anywhere = mark.startswith(("<", "["))
        found.append(re.escape(mark) if anywhere else f"{_START}{_BLANK}{re.escape(mark)}")
    return re.compile("|".join(found), re.IGNORECASE) if found else None


def guarded(pieces: Sequence[Piece], guard: Guard) -> tuple[list[Piece], list[Escape]]:
    """`pieces` with every place quoted where a value, or a value beside the author's words, reads as structure."""
    escapes: list[Escape] = []
    current = list(pieces)
    for flat in (False, True):
        for _ in range(
            8
        ):  # what was quoted is looked at again; a second pass finds nothing but in the ugliest of values
            text = "".join(piece.text for piece in current)
            edits = _edits(text, current, guard)
            if not edits:
                return current, escapes
            escapes += [Escape(edit.what, edit.names, _excerpt(text, edit.at)) for edit in edits]
            current = _edited(current, edits)
        if not flat:
            current = [piece._replace(text=_flat(piece.text)) if piece.names else piece for piece in current]
    return current, escapes


class _Folded(NamedTuple):
    """A text as a reader sees it who takes look-alikes for what they look like and nothing for what is not shown.

    at: where each of its characters stands in the text itself; None where it is the same text.
    """

    text: str
    at: Sequence[int] | None

    def start(self, position: int) -> int:
        return position if self.at is None else self.at[position]

    def end(self, position: int) -> int:
        return position if self.at is None or not position else self.at[position - 1] + 1


def _folded(text: str) -> _Folded:
    if text.isascii() or (unicodedata.is_normalized("NFKC", text) and not _UNSEEN.search(text)):
        return _Folded(text, None)
    made: list[str] = []
    at: list[int] = []
    for run in _RUN.finditer(text):
        if run[0].isascii():
            made.append(run[0])
            at += range(run.start(), run.end())
            continue
        for number, sign in enumerate(run[0], start=run.start()):
            seen = _seen(sign)
            made.append(seen)
            at += [number] * len(seen)
    return _Folded("".join(made), [*at, len(text)])


@lru_cache(maxsize=4096)
def _seen(sign: str) -> str:
    return "" if _UNSEEN.match(sign) else unicodedata.normalize("NFKC", sign)


class _Edit(NamedTuple):
    at: int
    new: str
    skip: int
    what: str
    names: tuple[str, ...]


def _edits(text: str, pieces: Sequence[Piece], guard: Guard) -> list[_Edit]:
    found: dict[int, _Edit] = {}
    values = list(_value_spans(pieces))
    seen = _folded(text)
    shown = seen.text

    def note(first: int, last: int, place: int, new: str, skip: int, what: str) -> None:
        start, end, at = seen.start(first), seen.end(last), seen.start(place)
        held = what in ("heading", "fence")  # what a sealed value may hold
        spans = (read for a, b, read, sealed in values if a < end and start < b and not (held and sealed))
        names = tuple(dict.fromkeys(name for read in spans for name in read))
        if names:
            found.setdefault(at, _Edit(at, new, skip, what, names))

    for what, pattern, known in _lines(guard):
        for match in pattern.finditer(shown):
            if known is None or words_of(match["name"].split("{#", 1)[0]) in known:
                place = match.start() + _indent(match[0])
                note(match.start(), match.end(), place, QUOTE, 0, what)
    for tags in (guard.tags, _MARKUP) if guard.tags is not None else ():
        for match in tags.finditer(shown):
            note(match.start(), min(match.end() + 1, len(shown)), match.start(), "&lt;", 1, "tag")
    for match in guard.control.finditer(shown) if guard.control is not None else ():
        note(match.start(), match.end(), match.start() + 1, " ", 0, "control token")
    for match in guard.marks.finditer(shown) if guard.marks is not None else ():
        place = match.start() + _indent(match[0])
        if shown[place] in "<[":  # a mark of signs counts wherever it stands, so it is broken
            note(match.start(), match.end(), place + 1, " ", 0, "turn")
        else:
            note(match.start(), match.end(), place, QUOTE, 0, "turn")
    if guard.notation == "markdown" and ("```" in shown or "~~~" in shown) and not _fences_close(pieces):
        for match in _FENCE_LINE.finditer(shown):
            note(match.start(), match.end(), match.start() + _indent(match[0]), QUOTE, 0, "fence")
    return [found[at] for at in sorted(found)]


def _lines(guard: Guard) -> Iterator[tuple[str, re.Pattern[str], frozenset[str] | None]]:
    if guard.titles:
        yield "heading", _HEADING, guard.titles
        yield "heading", _UNDERLINED, guard.titles
    if guard.labels:
        yield "label", _LABEL, guard.labels


def _indent(matched: str) -> int:
    return len(matched) - len(matched.lstrip())


def _value_spans(pieces: Iterable[Piece]) -> Iterator[tuple[int, int, tuple[str, ...], bool]]:
    at = 0
    for piece in pieces:
        if piece.names:
            yield at, at + len(piece.text), piece.names, piece.sealed
        at += len(piece.text)


def _fences_close(pieces: Sequence[Piece]) -> bool:
    """Whether every value closes its own fences, and no author's fence holds a value with one."""
    pieces = [piece._replace(text=_folded(piece.text).text) for piece in pieces if not piece.sealed]
    if any(FENCE.match(line) for piece in pieces if not piece.names for line in piece.text.split("\n")):
        return False
    return all(
        (piece.alone or not re.match(r"[ \t]*(```|~~~)", piece.text)) and _closes(piece.text)
        for piece in pieces
        if piece.names
    )


def _closes(text: str) -> bool:
    fence = ""
    for line in re.split(f"[{BREAKS}]", text):
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark is None:
            continue
        if not fence:
            fence = mark[1]
            if fence[0] == "`" and "`" in line.strip()[len(fence) :]:
                return False  # a code span on a line, which readers take in different ways
        elif mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and line.strip() == mark[1]:
            fence = ""
        else:
            return False  # a fence inside a fence: plain for one reader, the end for another
    return not fence


def _edited(pieces: Sequence[Piece], edits: Sequence[_Edit]) -> list[Piece]:
    made, at, waiting = [], 0, list(edits)
    for piece in pieces:
        text, end = piece.text, at + len(piece.text)
        parts, seen = [], 0
        while waiting and waiting[0].at < end:
            edit = waiting.pop(0)
            parts += [text[seen : edit.at - at], edit.new]
            seen = edit.at - at + edit.skip
        made.append(piece._replace(text="".join([*parts, text[seen:]])))
        at = end
    return made


def _flat(text: str) -> str:
    """The last resort: one line, without a sign that any notation reads."""
    return re.sub(r"[#<>`~:：\[\]|｜]|\s+", " ", text)


def _excerpt(text: str, at: int) -> str:
    return re.split(f"[{BREAKS}]", text[at : at + 60].strip())[0][:40]


# Writing --------------------------------------------------------------------------------------------------------------


def around(block: Block, notation: Notation, text: str) -> tuple[str, str]:
    """What stands before and behind a block's text. A block without a title has nothing around it."""
    if not block.title:
        return "", ""
    if notation == "markdown":
        return f"# {block.title}\n", ""
    if notation == "xml":
        return f"<{block.id}>\n", f"\n</{block.id}>"
    if notation == "label":
        return f"{block.title.upper()}:{chr(10) if _many_lines(text) else ' '}", ""
    return "", ""


def _many_lines(text: str) -> bool:
    return "\n" in text or text[:2] in ("- ", "* ") or text[:2].rstrip(".").isdigit()


def delimited(piece: Piece, delimit: Delimit, notation: Notation) -> list[Piece]:
    """A value between marks that it does not hold, so that it cannot close them."""
    before, value, behind = _delimited(piece, delimit, notation)
    sealed = notation == "markdown" and before.startswith("```")
    marked = [
        Piece(before, (), False, sealed),
        piece._replace(text=value, sealed=sealed),
        Piece(behind, (), False, sealed),
    ]
    return [one for one in marked if one.text or one.names]


def _delimited(piece: Piece, delimit: Delimit, notation: Notation) -> tuple[str, str, str]:
    value, name = piece.text, piece.names[0]
    seen = _folded(value).text
    if delimit == "auto":
        by_notation: dict[Notation, Delimit] = {"markdown": "fence", "xml": "xml", "label": "quotes", "plain": "quotes"}
        delimit = by_notation[notation]
    if delimit == "fence":
        longest = max((len(run) for run in re.findall(r"`+", seen)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}\n", value, f"\n{fence}"
    if delimit == "quotes":
        longest = max((len(run) for run in re.findall(r'"+', seen)), default=0)
        quotes = '"' * max(3, longest + 1)
        return f"{quotes}\n", value, f"\n{quotes}"
    if delimit == "xml":
        tag = _free_tag(name, seen)
        return f"<{tag}>\n", value, f"\n</{tag}>"
    if delimit == "datamark":
        return "", _datamarked(value), ""
    return "", value, ""


def _free_tag(name: str, value: str) -> str:
    number, tag, low = 1, name, value.casefold()
    while re.search(rf"<\s*(?:/\s*)?{re.escape(tag.casefold())}(?![\w-])", low):
        number += 1
        tag = f"{name}_{number}"
    return tag


def _datamarked(value: str) -> str:
    """White space replaced by a sign that the value does not hold, so that each of its words is seen to be data."""
    sign = next((sign for sign in "^ˆ¦§¬" if sign not in value), "^")
    return re.sub(r"\s+", sign, value)
