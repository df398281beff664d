"""README and docs: every program runs, every link leads somewhere, and the pages keep within their sizes.

A page's ```python blocks run in order in one namespace. A block of `>>>` lines is a doctest in the same
namespace. A block that imports a library which the tests do not need runs by itself, if that is there.
"""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from helpers import ROOT
from test_coming_from import SoftDTW

import softdp

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
OURS = {"torch", "softdp", "matplotlib", "numpy", *sys.stdlib_module_names}
STAND_INS = {"soft_dtw_cuda": SimpleNamespace(SoftDTW=SoftDTW)}  # a file, not a package: by its definition
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    page: Path
    line: int
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_doctest(self) -> bool:
        return self.code.lstrip().startswith(">>>")

    @property
    def foreign(self) -> list[str]:
        """The libraries that it imports and that are no requirement of the tests."""
        if self.is_doctest:
            return []
        names = []
        for node in ast.walk(ast.parse(self.code)):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names.append(node.module)
        return [name for name in names if name.split(".")[0] not in OURS]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start(1)) + 1, found[1])
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def run(block: Block, names: dict[str, Any]) -> None:
    if block.is_doctest:
        test = doctest.DocTestParser().get_doctest(
            block.code, {}, block.name, str(block.page), block.line - 1
        )
        test.globs = names
        said: list[str] = []
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
        assert not said, "".join(said)
    else:
        # The lines before it are there, so that an error names the line of the page.
        exec(compile("\n" * (block.line - 1) + block.code, str(block.page), "exec"), names)


def mine(page: Path) -> list[Block]:
    return [block for block in blocks(page) if not block.foreign]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Programs write their files into it; figures need no screen."""
    matplotlib = pytest.importorskip("matplotlib", reason='needs matplotlib: pip install ".[plot]"')
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.get("matplotlib.pyplot") and sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("page", [page for page in PAGES if mine(page)], ids=lambda page: page.name)
def test_programs_run(page, folder):
    names: dict[str, Any] = {"__name__": "page"}
    for block in mine(page):
        run(block, names)


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in blocks(page) if block.foreign],
    ids=lambda block: block.name,
)
def test_programs_beside_other_libraries_run(block, folder, monkeypatch):
    for name in block.foreign:
        if name in STAND_INS:
            monkeypatch.setitem(sys.modules, name, STAND_INS[name])
            continue
        package = name.split(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'needs {package}: pip install ".[benchmarks]"')
        with warnings.catch_warnings():  # numba's and others', of each other's versions
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    names: dict[str, Any] = {"__name__": "page"}
    for before in mine(block.page):
        if before.line < block.line:
            run(before, names)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(?!softdp)")
        run(block, names)


def test_there_are_programs():
    assert len([block for page in PAGES for block in blocks(page)]) > 40


# ---- the pages -----------------------------------------------------------------------------------


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page):
    assert page.read_text().count("\n") <= 250


@pytest.mark.parametrize(
    "command",
    ['pip install ".[examples]" && python examples/ftcl/train.py', 'pip install ".[test]" && pytest'],
)
def test_readmes_commands_stand_in_blocks_of_their_own(command):
    assert (ROOT / "README.md").read_text().count(f"\n```\n{command}\n```\n") == 1


def anchors(page: Path) -> set[str]:
    """As GitHub and MyST make them of headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links {target}"


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert sorted(["index", *listed]) == sorted(page.stem for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", softdp.__all__)
def test_public_names_are_in_the_api_pages(name):
    pattern = rf"^\.\. (auto(function|class)|py:data|py:module):: softdp\.{name}$"
    assert re.search(pattern, (DOCS / "api.md").read_text(), re.MULTILINE)


def test_what_people_looked_for_stands_where_they_look():
    """Each was sought in vain once: other systems in the page on installing, tasks in the recipes."""
    install = (ROOT / "docs" / "install.md").read_text()
    for name in ("Linux, x86-64", "Linux, aarch64", "macOS", "Windows", "WSL2", "conda", "uv pip"):
        assert name in install, name
    headings = [line for line in (ROOT / "docs" / "recipes.md").read_text().splitlines() if line[:2] == "##"]
    for task in ("force an alignment", "ADTW", "barycenter", "missing steps", "band", "choose gamma", "NaN"):
        assert any(task.lower() in heading.lower() for heading in headings), (task, headings)
