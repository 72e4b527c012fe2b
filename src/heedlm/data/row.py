"""A row: named fields, and the place in a file that a person can open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BY_ROW = "row "  # stands before the number in the place of a row of a file that has no lines


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of one row. where: "path:line", the line at which it starts, or "path:row N" in files without lines.

    Lines and rows are counted from 1.
    """

    value: dict[str, Any]
    where: str
