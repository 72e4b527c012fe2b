"""The card for people: the same in Markdown and on a page, whatever the texts in it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from heedlm.config import DataConfig
from heedlm.data.checks import checks_of
from heedlm.data.prepare import Source, prepare

ODD = "</script><img src=x onerror=alert(1)> | `code` & more"


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name in ("src", "href", "onerror")], "the page needs no other file"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def made(folder: Path) -> Path:
    rows = [{"prompt": f"Question {i}?", "completion": f"It is {i}.", "system": ODD, "license": ODD} for i in range(30)]
    rows += [{"prompt": f"{ODD} why?", "completion": answer} for answer in ("No <b>7</b>", "Yes <b>8</b>")]
    rows += [{"prompt": "Who?", "completion": "As an AI, I am ada@example.org"}, {"prompt": "x", "completion": ""}]
    (folder / "rows | odd`.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = [Source(folder / "rows | odd`.jsonl")]
    prepare(source, folder / "out", val=0.1, test=0.1, seed=0, max_bad=0.1, checks=checks_of(DataConfig()))
    return folder / "out"


def test_the_page_is_whole_and_holds_no_markup_of_the_data(tmp_path):
    out = made(tmp_path)
    page = Page()
    page.feed((out / "card.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert not page.seen & {"img", "script", "link", "iframe"}
    assert {"h1", "h2", "table", "svg", "rect"} <= page.seen
    for part in (
        "34 rows in, 33 examples kept",
        "near-duplicates on two sides",
        "refusal",
        "email",
        "Several answers",
        ODD.split("`")[0],
    ):
        assert part in page.text


def test_markdown_tables_keep_their_columns(tmp_path):
    lines = (made(tmp_path) / "card.md").read_text(encoding="utf-8").splitlines()
    tables = [number for number, line in enumerate(lines) if line.startswith("|---")]
    assert len(tables) >= 3
    for number in tables:
        columns = lines[number].count("|")
        assert lines[number - 1].count("|") == columns
        below = number + 1
        while below < len(lines) and lines[below].startswith("|"):
            assert lines[below].replace("\\|", "").count("|") == columns
            below += 1
