"""The data card for people: one list of blocks, written as Markdown and as a page that opens from a file."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_LONG = 30  # characters of a cell that may be broken anywhere: a path, a text


class Block(NamedTuple):
    """A part of the card. title: of its section; "" goes on with the one above.   lines: list items; head, rows: a table.

    bars: which columns of the table are drawn as bars.
    """

    title: str = ""
    text: str = ""
    lines: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    bars: tuple[int, ...] = ()


def markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    return as_markdown("Data card", blocks(card))


def page(card: Mapping[str, Any]) -> str:
    """The card as one HTML file that needs no other."""
    return as_page("Data card", blocks(card))


def as_markdown(title: str, parts: Iterable[Block]) -> str:
    """Blocks as Markdown."""
    lines = [f"# {title}", ""]
    for block in parts:
        lines += [f"## {block.title}", ""] if block.title else []
        lines += [block.text, ""] if block.text else []
        lines += [*(f"- {line}" for line in block.lines), ""] if block.lines else []
        if block.head:
            lines += [_cells(block.head), "|" + "---|" * len(block.head), *map(_cells, block.rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def as_page(title: str, parts: Iterable[Block]) -> str:
    """Blocks as one HTML file that needs no other."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for block in parts:
        body += [f"<h2>{html.escape(block.title)}</h2>"] if block.title else []
        body += [f"<p>{_spans(block.text)}</p>"] if block.text else []
        if block.lines:
            body.append("<ul>" + "".join(f"<li>{_spans(line)}</li>" for line in block.lines) + "</ul>")
        if block.head:
            body.append(_table(block))
    return _PAGE.format(title=html.escape(title), body="\n".join(body))


def blocks(card: Mapping[str, Any]) -> Iterator[Block]:
    """What there is to say, in order."""
    dropped = sum(entry["count"] for entry in card["dropped"].values())
    proof = card["proof"]
    sides = [
        f"{proof['groups_on_two_sides']} of {proof['groups']:,} groups",
        f"{proof['prompts_on_two_sides']} prompts",
    ]
    near = proof["near_duplicates_on_two_sides"]
    sides.append("near-duplicates (not looked for)" if near is None else f"{near} near-duplicates")
    yield Block(
        text=f"{card['rows_in']:,} rows in, {card['kept']:,} examples kept, {dropped:,} dropped "
        f"({card['duplicates']:,} of them exact duplicates).\n"
        f"Proof of the split: {', '.join(sides[:-1])} and {sides[-1]} on two sides.",
        lines=tuple(card["notes"]),
    )
    yield _splits(card)
    yield from _lengths(card)
    if card["dropped"]:
        rows = [(reason, f"{entry['count']:,}", _places(entry)) for reason, entry in card["dropped"].items()]
        yield Block("Dropped", head=("reason", "rows", "for example"), rows=tuple(rows), bars=(1,))
    yield from _flagged(card)
    yield from _together(card)
    if card["licences"].keys() - {"unknown"}:
        counts = tuple((name, f"{rows:,}") for name, rows in card["licences"].items())
        yield Block("Licences", head=("licence", "rows"), rows=counts, bars=(1,))
    spoken: Counter[str] = Counter()
    for source in card["sources"].values():
        spoken.update(source["languages"])
    said = tuple((name, f"{rows:,}") for name, rows in spoken.most_common())
    yield Block("Languages", head=("language of the last answer", "rows"), rows=said, bars=(1,))
    for number, (file, source) in enumerate(card["sources"].items()):
        title = "Sources" if not number else ""
        yield Block(title, text=f"`{inline(file)}`", lines=tuple(_source(source)))
    yield from _examples(card)


def _splits(card: Mapping[str, Any]) -> Block:
    head = ("split", "rows", "groups", "words asked: median, 95 %, most", "words answered: median, 95 %, most")
    rows = [
        (
            name,
            f"{split['rows']:,}",
            f"{split['groups']:,}",
            _three(split["lengths"]["prompt_words"]),
            _three(split["lengths"]["answer_words"]),
        )
        for name, split in card["splits"].items()
    ]
    return Block("Splits", head=head, rows=tuple(rows), bars=(1,))


def _lengths(card: Mapping[str, Any]) -> Iterator[Block]:
    """Rows of all splits by the words that they ask and answer with."""
    asked, answered = (_in_all(card, name) for name in ("prompt_words", "answer_words"))
    spans = sorted({*asked, *answered}, key=lambda span: span[0])
    rows = tuple((_span(*span), f"{asked[span]:,}", f"{answered[span]:,}") for span in spans)
    if rows:
        yield Block(
            "Lengths", head=("words", "rows that ask so much", "rows that answer so much"), rows=rows, bars=(1, 2)
        )


def _in_all(card: Mapping[str, Any], name: str) -> Counter[tuple[int, int | None]]:
    bins: Counter[tuple[int, int | None]] = Counter()
    for split in card["splits"].values():
        for one in split["histograms"][name]:
            bins[one["from"], one["to"]] += one["rows"]
    return bins


def _span(low: int, high: int | None) -> str:
    return f"{low:,} and more" if high is None else f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _examples(card: Mapping[str, Any]) -> Iterator[Block]:
    """Some rows of each split, drawn by their content."""
    title = "Examples"
    for name, split in card["splits"].items():
        for one in split["examples"]:
            turns = tuple(f"{turn['role']}: `{inline(turn['text'])}`" for turn in one["turns"])
            yield Block(title, f"{name}: {inline(one['where'])}, {inline(one['id'])}", turns)
            title = ""


def _flagged(card: Mapping[str, Any]) -> Iterator[Block]:
    if card["flagged"]:
        rows = [
            (
                rule,
                f"{entry['count'] + entry['masked']:,}",
                "masked" if entry["masked"] else "kept",
                entry["finds"],
                "; ".join(f"{example['where']}: {example['what']}" for example in entry["examples"]),
            )
            for rule, entry in card["flagged"].items()
        ]
        text = "Rows that stay, with what a rule found in them; each is listed in flagged.jsonl."
        yield Block(
            "Flagged", text, head=("rule", "rows", "done", "what it finds", "for example"), rows=tuple(rows), bars=(1,)
        )


def _together(card: Mapping[str, Any]) -> Iterator[Block]:
    """What was found about rows together."""
    near, answers, leaks = card["near_duplicates"], card["answers"], card["contamination"]
    if near["rows"]:
        done = {"drop": "dropped", "flag": "kept, in one group with what they repeat"}[near["action"]]
        unsure = (
            f" {near['unsure']:,} rows look like more others than they were compared with." if near["unsure"] else ""
        )
        yield Block(
            "Near-duplicates",
            f"{near['rows']:,} rows ask and answer nearly the same as an earlier one; {done}.{unsure}",
            tuple(f"{one['where']} and {one['like']}: {one['similarity']:.0%}" for one in near["examples"]),
        )
    if answers["questions"]:
        pairs = (
            f"{one['question']!r}: " + " against ".join(f"{a['answer']!r} ({a['where']})" for a in one["answers"])
            for one in answers["examples"]
        )
        yield Block(
            "Several answers",
            f"{answers['questions']:,} questions have several answers; {answers['contradictory']:,} have short ones that "
            "differ in a number, a name or a negation, or altogether. All are kept.",
            tuple(" ".join(pair.split()) for pair in pairs),
        )
    if leaks["rows"]:
        head = ("items of", "rows", "with the answer", "dropped")
        rows = tuple(
            (of, *(f"{entry[name]:,}" for name in ("rows", "with_answer", "dropped")))
            for of, entry in leaks["of"].items()
        )
        yield Block("Contamination", "Matched texts are listed in contamination.jsonl.", head=head, rows=rows)


def _source(source: Mapping[str, Any]) -> Iterator[str]:
    sides = ", ".join(f"{name} {rows:,}" for name, rows in source["splits"].items())
    yield f"{source['rows']:,} rows, {source['kept']:,} kept{f' ({sides})' if sides else ''}, {source['dropped']:,} dropped"
    yield f"shapes: {_counted(source['shapes']) or 'none'}"
    yield f"languages of the answers: {_counted(source['languages']) or 'none'}"
    licences = source["licences"]
    by = f"; of rows that name none it is told by {source['licence_by']}" if source["licence_by"] else ""
    yield f"licence: {licences if isinstance(licences, str) else _counted(licences)}{by}"
    if source["authors"]:
        more = source["distinct_authors"] - len(source["authors"])
        yield f"authors: {_counted(source['authors'])}" + (f" and {more:,} more" if more > 0 else "")
    if source["consents"]:
        yield f"consent: {_counted(source['consents'])}"
    without, distinct = source["without_system_text"], source["distinct_system_texts"]
    yield f"system text: {without:,} examples without, {distinct:,} distinct texts"
    yield from (f"system text of {entry['examples']:,} x `{inline(entry['text'])}`" for entry in source["system_texts"])
    if source["turn_fields_kept_in_meta"]:
        yield f"fields of turns that no chat template sees: {_counted(source['turn_fields_kept_in_meta'])}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())


def _places(entry: Mapping[str, Any]) -> str:
    return "; ".join(example["where"] for example in entry["examples"])


def _three(lengths: Mapping[str, float]) -> str:
    return ", ".join(f"{lengths[name]:,}" for name in ("median", "p95", "max")) if lengths else "none"


def inline(text: str) -> str:
    """Text on one line that Markdown does not take for its own marks."""
    return " ".join(text.split()).replace("`", "'")


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"


def _spans(text: str) -> str:
    """Text for a page: `marked` words in another type, lines kept apart."""
    pieces = html.escape(text).split("`")
    marked = [f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces)]
    return "".join(marked).replace("\n", "<br>")


def _table(block: Block) -> str:
    counts = {column: [int(row[column].replace(",", "")) for row in block.rows] for column in block.bars}
    long = {column for column in range(len(block.head)) if any(len(row[column]) > _LONG for row in block.rows)}
    lines = ["<div><table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in block.head) + "</tr>"]
    for number, row in enumerate(block.rows):
        cells = [
            f"<td{' class=l' if column in long else ''}>{html.escape(cell)}</td>" for column, cell in enumerate(row)
        ]
        for column, found in counts.items():
            width = 100 * found[number] / (max(found) or 1)
            bar = f'<svg width="100" height="8" role="img"><rect width="{width:.1f}" height="8" rx="2"/></svg>'
            cells[column] = f"<td class=n>{html.escape(row[column])} {bar}</td>"
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; background: #fff }}
h1, h2 {{ line-height: 1.2 }} h2 {{ margin-top: 2.2rem }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.92rem }}
th, td {{ text-align: left; vertical-align: top; padding: 0.35rem 0.7rem; border-bottom: 1px solid #d9dee5 }}
div {{ overflow-x: auto }} td.l {{ overflow-wrap: anywhere }} td.n {{ white-space: nowrap }} code {{ background: #f1f3f6; padding: 0 0.25em; overflow-wrap: anywhere }} rect {{ fill: #2f6f9f }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #e4e8ee; background: #14181e }} th, td {{ border-color: #333b46 }} code {{ background: #232a33 }} rect {{ fill: #6fb1dd }}
}}
</style></head><body>
{body}
</body></html>
"""
