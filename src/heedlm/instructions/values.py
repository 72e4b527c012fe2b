"""The text of one block with values put in, piece by piece, so that it is always known what came from where.

Structure is found before anything is put in: a block's text is parsed once, as a template; what a value holds is never
parsed again. Every printed value is marked with two characters that no interchanged text may hold (Unicode
noncharacters, which are taken out of values first), and the marks are cut away again when the text is parted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from heedlm.errors import nearest
from heedlm.templates.sandbox import CHANCE, MOST_CHARACTERS, FillError, sandbox

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

PORTABLE = frozenset({"upper", "lower", "trim", "join", "length", "default"})  # filters that every Prompty runtime has
_OPEN, _MIDDLE, _CLOSE = "\ufdd1", "\ufdd2", "\ufdd3"
_NONCHARACTERS = dict.fromkeys(range(0xFDD0, 0xFDF0))
_NONCHARACTER = re.compile("[\ufdd0-\ufdef]")
_MARK, _STEPS, _SIZED, _COUNT = "_heed_value", "_heed_steps", "_heed_sized", "_heed_count"
_OWN = frozenset((_MARK, _STEPS, _SIZED))  # filters that this module writes into a template
MOST_LOOPS = 100_000  # steps of all loops and ranges of one text together
_FAILURES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)


class Endless(FillError):
    """A text that would take too long to make, or be too long."""


def mend_of(error: FillError) -> str:
    """What to do about a text that cannot be a block's, or be filled."""
    if isinstance(error, Endless):
        return "fewer steps: a shorter list, or one loop less"
    missing = re.match(r"there is no filter '(\w+)'", error.what)
    if missing is not None:
        return nearest(missing[1], sorted(_environment().filters.keys() - _OWN))
    return "every {{ closes with }}, every {% if %} and {% for %} ends inside its block"


def _said(error: BaseException) -> str:
    """An error of Jinja's or Python's in a few words, without the places that they add."""
    what = re.sub(r"\s+", " ", str(getattr(error, "message", "") or error)).strip().rstrip(".")
    return re.sub(r"^No (filter|test) named ", r"there is no \1 ", what)


class Piece(NamedTuple):
    """A stretch of a block's text. names: the inputs that it comes from; () for the author's own words.

    alone: the value fills whole lines, with nothing of the author's beside it.   sealed: it stands inside marks that it
    does not hold, or is such a mark.
    """

    text: str
    names: tuple[str, ...] = ()
    alone: bool = False
    sealed: bool = False


class Slot(NamedTuple):
    """A place where a block prints something. line: in the block's text, from 1."""

    names: tuple[str, ...]
    line: int
    alone: bool


class Wording(NamedTuple):
    """A block's text, parsed.

    names: inputs that it reads, printed or only looked at.   slots: places where it prints.
    fixed: its text where it reads nothing; None where values decide.   extras: parts of Jinja that Prompty files do not
    share, with their line.   chance: what would give another text each time, with its line.
    """

    names: frozenset[str]
    slots: tuple[Slot, ...]
    fixed: str | None
    extras: tuple[tuple[str, int], ...]
    chance: tuple[tuple[str, int], ...]
    template: Any


@lru_cache(maxsize=4096)
def wording(text: str) -> Wording:
    """`text` parsed and ready to be filled. Raises FillError, with the line, for what cannot be a block's text."""
    from jinja2 import TemplateError, meta, nodes

    env = _environment()
    if _NONCHARACTER.search(text):
        line = text[: _NONCHARACTER.search(text).start()].count("\n") + 1  # type: ignore[union-attr]
        raise FillError("the text holds a Unicode noncharacter, which no text may hold", line)
    try:
        tree = env.parse(text)
        _refuse(tree)
        _bound(tree)
        names = frozenset(meta.find_undeclared_variables(tree)) - set(env.globals)
        slots = _mark(tree, _sources(tree))
        template = env.template_class.from_code(env, env.compile(tree), env.globals)
        fixed = None if slots or names else _rendered(template, {})
    except (TemplateError, *_FAILURES) as error:
        raise FillError(_said(error), getattr(error, "lineno", 0) or 0) from error
    filters = [(f"the filter {one.name!r}", one.lineno) for one in tree.find_all(nodes.Filter)]
    extras = [(what, line) for what, line in filters if what[12:-1] not in PORTABLE | _OWN]
    extras += [("{% set %}", one.lineno) for one in tree.find_all(nodes.Assign)]
    extras += [("a call", one.lineno) for one in tree.find_all(nodes.Call)]
    chance = [(one.name, one.lineno) for one in tree.find_all(nodes.Filter) if one.name in CHANCE]
    chance += [(one.name, one.lineno) for one in tree.find_all(nodes.Name) if one.name in CHANCE]
    found = tuple(sorted(set(extras))), tuple(sorted(set(chance)))
    return Wording(names, slots, fixed, *found, template if fixed is None else None)


def pieces(found: Wording, values: Mapping[str, Any]) -> list[Piece]:
    """The block's text with these values, in pieces that join to the whole. Raises FillError: an undefined name."""
    if found.template is None:
        return [Piece(found.fixed or "")]
    from jinja2 import TemplateError

    try:
        return _parted(_rendered(found.template, values), found.slots)
    except (TemplateError, *_FAILURES) as error:
        raise FillError(_said(error), _line_of(error)) from error


def _line_of(error: BaseException) -> int:
    """The line of the template at which it failed; 0 where that cannot be told."""
    line, at = 0, error.__traceback__
    while at is not None:
        line = at.tb_lineno if at.tb_frame.f_code.co_filename == "<template>" else line
        at = at.tb_next
    return line


def _rendered(template: Any, values: Mapping[str, Any]) -> str:
    made, length = [], 0
    for part in template.generate(values, **{_COUNT: [0]}):
        made.append(part)
        length += len(part)
        if length > MOST_CHARACTERS:
            raise Endless(f"the text is longer than {MOST_CHARACTERS:,} characters")
    return "".join(made)


def _parted(text: str, slots: tuple[Slot, ...]) -> list[Piece]:
    head, *marked = text.split(_OPEN)
    found = [Piece(head)] if head else []
    for part in marked:
        number, _, rest = part.partition(_MIDDLE)
        value, _, own = rest.partition(_CLOSE)
        opens = not found or (not found[-1].names and found[-1].text.rstrip(" \t").endswith("\n"))
        found.append(Piece(value, slots[int(number)].names, opens and own.lstrip(" \t")[:1] in ("", "\n")))
        if own:
            found.append(Piece(own))
    last = len(found) - 1
    return [
        piece._replace(alone=piece.alone and (at == last or not found[at + 1].names)) for at, piece in enumerate(found)
    ]


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import pass_context

    env = sandbox().overlay()
    own = {_MARK: _marked, _STEPS: pass_context(_counted), _SIZED: _sized}
    env.filters = {**env.filters, **own}
    for name in ("choice", "random", "batch", "slice"):  # chance; lists of any length from one number
        env.filters.pop(name, None)
    env.globals = {**env.globals, "range": pass_context(_range)}
    return env


def _marked(value: Any, number: int) -> str:
    return f"{_OPEN}{number}{_MIDDLE}{str(value).translate(_NONCHARACTERS)}{_CLOSE}"


def _counted(context: Any, items: Any, line: int) -> Any:
    """What a loop goes through, once its steps are counted."""
    items = items if hasattr(items, "__len__") else list(items)
    count = context.resolve(_COUNT)
    count[0] += len(items)
    if count[0] > MOST_LOOPS:
        raise Endless(f"its loops make more than {MOST_LOOPS:,} steps", line)
    return items


def _range(context: Any, *bounds: int) -> range:
    return cast(range, _counted(context, range(*bounds), 0))


def _sized(value: Any, line: int, number: bool = False) -> Any:
    """A value that is kept under a name, or (number) the left side of %, which makes long texts of short ones."""
    if number and isinstance(value, str):
        raise FillError("the operator '%' is only for numbers", line)
    if isinstance(value, (str, list, tuple)) and len(value) > MOST_CHARACTERS // 10:
        raise Endless(f"a value that it sets is longer than {MOST_CHARACTERS // 10:,}", line)
    return value


def _bound(tree: nodes.Template) -> None:
    """Count the steps of loops and the size of what is kept, so that no text takes long to make."""
    from jinja2 import nodes

    def through(name: str, node: nodes.Expr, line: int, *more: object) -> nodes.Filter:
        given: list[nodes.Expr] = [nodes.Const(one, lineno=line) for one in (line, *more)]
        return nodes.Filter(node, name, given, [], None, None, lineno=line)

    for loop in list(tree.find_all(nodes.For)):
        loop.iter = through(_STEPS, loop.iter, loop.lineno)  # type: ignore[arg-type]
    for kept in list(tree.find_all(nodes.Assign)):
        kept.node = through(_SIZED, kept.node, kept.lineno)  # type: ignore[arg-type]
    for rest in list(tree.find_all(nodes.Mod)):
        rest.left = through(_SIZED, rest.left, rest.lineno, True)
    tree.set_environment(tree.environment)  # type: ignore[arg-type]


def _refuse(tree: nodes.Template) -> None:
    """What would part a value from its mark, or reach outside the block."""
    from jinja2 import TemplateSyntaxError, nodes

    allowed = (nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.TemplateData, nodes.Expr, nodes.Helper)
    for node in tree.iter_child_nodes():
        for inner in (node, *node.find_all(nodes.Node)):
            if isinstance(inner, nodes.Stmt) and not isinstance(inner, allowed):
                name = type(inner).__name__
                raise TemplateSyntaxError(f"{name} is not for a block: use if, for and {{{{ names }}}}", inner.lineno)
            if isinstance(inner, nodes.For) and inner.recursive:
                raise TemplateSyntaxError("a loop that calls itself is not for a block", inner.lineno)


def _sources(tree: nodes.Template) -> dict[str, tuple[str, ...]]:
    """Names that a template makes itself (loops, set) to the inputs that they are made of."""
    from jinja2 import nodes

    made: dict[str, set[str]] = {}
    pairs = [(node.target, node.iter) for node in tree.find_all(nodes.For)]
    pairs += [(node.target, node.node) for node in tree.find_all(nodes.Assign)]
    for target, given in pairs:
        for one in _names(target):
            made.setdefault(one, set()).update(_names(given))
    for _ in made:  # a name made of a name that is made
        for name, read in made.items():
            made[name] = {origin for one in read for origin in (made.get(one, {one}) if one != name else {one})}
    return {name: tuple(sorted(read)) for name, read in made.items()}


def _names(node: nodes.Node) -> set[str]:
    """Every name in an expression, itself included."""
    from jinja2 import nodes

    own = {node.name} if isinstance(node, nodes.Name) else set()
    return own | {one.name for one in node.find_all(nodes.Name)}


def _mark(tree: nodes.Template, made: Mapping[str, tuple[str, ...]]) -> tuple[Slot, ...]:
    """Put a mark around everything that is printed and reads a name; says what stands where."""
    from jinja2 import nodes

    slots: list[Slot] = []
    for output in tree.find_all(nodes.Output):
        parts = list(output.nodes)
        for index, part in enumerate(parts):
            if isinstance(part, nodes.TemplateData):
                continue
            names = _names(part) - {"loop"}
            read = tuple(sorted({origin for name in names for origin in made.get(name, (name,))}))
            before = parts[index - 1] if index else None
            behind = parts[index + 1] if index + 1 < len(parts) else None
            alone = _ends(before, -1) and _ends(behind, 0)
            number = nodes.Const(len(slots), lineno=part.lineno)
            output.nodes[index] = nodes.Filter(part, _MARK, [number], [], None, None, lineno=part.lineno)
            slots.append(Slot(read, part.lineno, alone))
    tree.set_environment(tree.environment)  # type: ignore[arg-type]
    return tuple(slots)


def _ends(part: nodes.Node | None, at: int) -> bool:
    """Whether what stands beside a value is the edge of a line, or of the text."""
    from jinja2 import nodes

    if part is None:
        return True
    return isinstance(part, nodes.TemplateData) and part.data.strip(" \t")[at : at + 1 or None] == "\n"
