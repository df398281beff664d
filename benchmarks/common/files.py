"""The files of a run: NAME.json has all numbers, NAME.md the tables, NAME.png the figure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from common.arguments import Parser

ROOT = Path(__file__).resolve().parents[2]
Run = dict[str, Any]


class Report(NamedTuple):
    """How a kind of run is shown. `script` is the one that makes it, below benchmarks/."""

    script: str
    title: str
    tables: Callable[[Run], str]
    plot: Callable[[Any, Run], None]
    caption: str

    def write(self, path: Path, run: Run) -> None:
        """Makes the Markdown file and the figure beside the JSON file at `path`."""
        page, figure = path.with_suffix(".md"), path.with_suffix(".png")
        self.plot(figure, run)
        page.write_text(f"# {self.title}\n\n{self.section(path, page, self.tables(run))}\n")

    def section(self, path: Path, page: Path, text: str) -> str:
        """The source of the numbers, the text and the figure, with links that work in `page`."""
        data, figure = (
            Path(os.path.relpath(file.resolve(), page.parent.resolve())).as_posix()
            for file in (path, path.with_suffix(".png"))
        )
        command = f"python benchmarks/{self.script} --table {in_repository(path)} --write"
        return f"From [{path.name}]({data}) by `{command}`:\n\n{text}\n\n![{self.caption}]({figure})"


def in_repository(path: Path) -> str:
    """The path from the root of the repository; the whole path of a file that is elsewhere."""
    whole = path.resolve()
    return (whole.relative_to(ROOT) if whole.is_relative_to(ROOT) else whole).as_posix()


def save(path: Path, run: Run) -> None:
    """Writes the JSON file in one step, because a run can be stopped at any time."""
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(run, indent=1) + "\n")
    os.replace(part, path)


def load(parser: Parser, path: Path, *shown: Callable[[Run], str]) -> tuple[Any, ...]:
    """The run, and the text that each of `shown` makes of it."""
    try:
        run = json.loads(path.read_text())
        return run, *(text(run) for text in shown)
    except OSError as error:
        parser.error(f"argument --table: {error}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        parser.error(f"argument --table: {path} is not what {parser.prog} writes ({error!r})")


def make_folder(parser: Parser, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: {error}")


def spliced(page: Path, begin: str, end: str, text: str) -> str:
    """The page with `text` between the markers. ValueError unless each marker occurs once, in order."""
    whole = page.read_text()
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        raise ValueError(f"{page} must hold {begin} and then {end}, each once")
    head, rest = whole.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{text}\n{end}{tail}"
