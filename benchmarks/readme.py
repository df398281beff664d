"""What the benchmarks write into a page, between two markers."""

from __future__ import annotations

from pathlib import Path


def spliced(page: Path, begin: str, end: str, text: str) -> str:
    """The file's text with what is between the markers replaced; ValueError where they are not there once,
    in this order."""
    whole = page.read_text()
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        raise ValueError(f"{page} must hold {begin} and then {end}, each once")
    head, rest = whole.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{text}\n{end}{tail}"
