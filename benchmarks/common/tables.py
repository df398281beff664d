"""Tables in GitHub Markdown, and the cells that stand in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Entry = dict[str, Any]  # one measurement, as it stands in the JSON file


def size(entry: Entry) -> str:
    """Pairs x steps, such as 16x30."""
    return f"{entry['B']}x{entry['N']}"


def number(value: float) -> str:
    """About three digits, without an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. Columns are padded, so the table is readable in a terminal too."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * max(width, 3) for width in widths]
    lines = [head, rule, *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(max(width, 3)) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
