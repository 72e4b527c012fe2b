"""The report of a matrix, written for programs, for people and for a browser."""

from __future__ import annotations

from pathlib import Path

from heedlm.eval.html_parts import plain
from heedlm.eval.report import as_text
from heedlm.instructions.matrix_html import page_of
from heedlm.instructions.matrix_report import Report, markdown, told
from heedlm.runs import write_text


def write_report(report: Report, folder: Path) -> tuple[Path, Path, Path]:
    """report.json, report.md and report.html in a folder, each written whole or not at all."""
    json_, words, page = (folder / f"report.{ending}" for ending in ("json", "md", "html"))
    write_text(json_, as_text(told(report)))
    write_text(words, plain(markdown(report)))
    write_text(page, page_of(report))
    return json_, words, page
