"""What a recipe says about its mixture, each name matched with a source, every mistake told before a row is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from heedlm.data import hub
from heedlm.data.sources import ASKED_STDIN, ENDINGS, STDIN, data_files
from heedlm.errors import HeedError, Problem, nearest
from heedlm.tokens.mixture import Mixture, Portion, Stock, mix, told, weight_missing

if TYPE_CHECKING:
    from heedlm.config import DataConfig
    from heedlm.data.prepare import PrepareReport


def mixture_of(config: DataConfig, files: Iterable[str] = ()) -> Mixture:
    """The mixture of a recipe.   files: that rows came from, where the recipe names no sources.

    A source is named as in `data.sources`, or by the end of its path, with or without ending (`rows` for
    `data/rows.jsonl.gz`). A file of a folder may be named by itself, and is then a source of its own. Raises HeedError
    with every name that is unknown, or could be two sources, or is a second name for one.
    """
    sources = {source.path: [str(file) for file in data_files(Path(source.path))] for source in config.sources}
    source_of = {file: path for path, held in sources.items() for file in held}
    source_of |= {file: file for file in files if file not in source_of}
    if not config.mixture:
        return Mixture({}, _different(source_of))
    alone = {held[0]: path for path, held in sources.items() if len(held) == 1}  # a file and its source are one thing
    known = _Names([*sources, *(file for file in source_of if file not in alone)], alone)
    portions: dict[str, Portion] = {}
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for name, asked in config.mixture.items():
        found = known.meant(name)
        if len(found) != 1:
            problems.append(_unclear(name, found, known))
        elif found[0] in names:
            what = f"{names[found[0]]!r} and {name!r} are both {found[0]}"
            problems.append(Problem(what, f"data.mixture.{name}", f"write {names[found[0]]!r} in both places"))
        else:
            names[found[0]] = name
            portions[found[0]] = Portion(asked.weight, asked.cap, asked.cap_tokens, asked.epochs)
    whole = {path for path, held in sources.items() if path not in portions and not set(held) <= portions.keys()}
    problems += _without_weight(portions, sorted(whole)) if not problems else []
    if problems:
        raise HeedError.of(problems)
    source_of |= {file: file for file in source_of if file in portions}
    return Mixture(portions, _different(source_of))


def planned(report: PrepareReport, mixture: Mixture) -> PrepareReport:
    """The report with what the mixture will take, by rows; tokens are counted where rows become tokens. Raises HeedError."""
    if not mixture.portions or not sum(report.train_rows.values()):  # an older card does not tell
        return report
    stock = Stock(0)
    for file, rows in report.train_rows.items():
        stock.add_unmeasured(mixture.source(f"{file}:1"), rows)
    portions = {name: dataclasses.replace(one, cap_tokens=None) for name, one in mixture.portions.items()}
    lines = tuple(line.strip() for line in told(mix(stock, Mixture(portions)).accounts))
    counted = tuple(
        f"{name}: of these at most {one.cap_tokens:,} tokens, counted when the rows are tokenised"
        for name, one in mixture.portions.items()
        if one.cap_tokens is not None
    )
    return dataclasses.replace(
        report, mixture=("one epoch of training:", *(f"  {line}" for line in (*lines, *counted)))
    )


def _without_weight(portions: Mapping[str, Portion], others: Sequence[str]) -> Iterator[Problem]:
    weighed = [name for name, one in portions.items() if one.weight is not None]
    for name in [*(name for name, one in portions.items() if one.weight is None), *others]:
        if weighed:
            yield weight_missing(name, weighed[0])


def _different(source_of: Mapping[str, str]) -> dict[str, str]:
    return {file: source for file, source in source_of.items() if file != source}


class _Names:
    """Sources by all that they may be called."""

    def __init__(self, sources: Sequence[str], also: Mapping[str, str]) -> None:
        """also: other path -> the source that it is."""
        self.sources = list(dict.fromkeys(sources))
        self._called: dict[str, list[str]] = {}
        for path, source in (*zip(self.sources, self.sources, strict=True), *also.items()):
            for name in dict.fromkeys(_names(path)):
                found = self._called.setdefault(name, [])
                found += [source] if source not in found else []

    def meant(self, name: str) -> list[str]:
        """The sources that a name could stand for: a path written in full, before any other."""
        return [name] if name in self.sources else self._called.get(name, [])

    def near(self, name: str) -> str:
        return nearest(name, {*self.sources, *(one for one in self._called if "." in one or "/" in one)})


def _names(source: str) -> Iterator[str]:
    yield source
    if source in (ASKED_STDIN, str(STDIN)):
        yield from (ASKED_STDIN, "stdin")
        return
    if hub.is_hub(Path(source)):
        source = source.removeprefix(hub.PREFIX).partition(",")[0]
        yield source
        yield source.rpartition("/")[2]
        return
    path = PurePosixPath(source)
    yield str(path)
    yield path.name
    yield path.name.removesuffix(max((end for end in ENDINGS if path.name.endswith(end)), key=len, default=""))


def _unclear(name: str, found: Sequence[str], known: _Names) -> Problem:
    where = f"data.mixture.{name}"
    if found:
        what = f"{name!r} could be {len(found)} sources: {', '.join(found[:4])}"
        return Problem(what, where, f"write the path, for example {found[0]!r}")
    return Problem(
        f"no source is named {name!r}", where, known.near(name) if known.sources else "name it in data.sources"
    )
