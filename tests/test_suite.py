"""The test suite itself: a run says why it skips, and versions come from one source."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import skips
from helpers import ROOT, run_python

TESTS = sorted((ROOT / "tests").rglob("*.py"))
SKIPPED = {  # a file's name and text
    "test_some.py": """
        import pytest
        from skips import needs_packages

        @pytest.mark.parametrize("k", range(7))
        def test_on_a_device(k):
            pytest.skip("needs a device: buy one")

        @pytest.mark.skipif(True, reason="needs Linux: another system cannot run this test")
        def test_on_linux():
            pass

        def test_with_a_package():
            needs_packages("softdp_has_no_such_package", extra="examples")

        def test_that_runs():
            pass
    """,
    "test_file.py": """
        from skips import needs_packages

        needs_packages("softdp_has_no_such_package", extra="examples")

        def test_with_a_package():
            pass
    """,
}


def run_pytest(folder: Path, *arguments: str) -> str:
    """What pytest prints of the folder's tests, with the groups of this suite."""
    path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = run_python(
        *("-m", "pytest", "-p", "skips", "-p", "no:cacheprovider"),
        *(*arguments, folder),
        folder=folder,
        variables={"PYTHONPATH": path, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["plain", "quiet"])
def test_skips_are_told_in_groups(tmp_path, quiet):
    for name, text in SKIPPED.items():
        (tmp_path / name).write_text(_dedented(text))
    printed = run_pytest(tmp_path, *quiet)
    groups = [line for line in printed.splitlines() if re.match(r"\d+ (test|whole)", line)]
    assert groups == [
        "7 tests: needs a device: buy one",
        '1 test and 1 whole file: needs softdp_has_no_such_package: pip install ".[examples]"',
        "1 test: needs Linux: another system cannot run this test",
    ]


def test_a_run_without_skips_says_nothing_of_them(tmp_path):
    (tmp_path / "test_some.py").write_text("def test_that_runs():\n    pass\n")
    assert "skipped" not in run_pytest(tmp_path)


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix(" " * 8) for line in text.splitlines())


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, with the last name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def skip_reasons(tree: ast.AST) -> Iterator[str]:
    """The source of each reason for a skip: '' where there is none."""
    for name, call in calls(tree):
        if name in ("skip", "skipif", "importorskip"):
            given = [word.value for word in call.keywords if word.arg == "reason"]
            given += call.args[:1] if name == "skip" else []
            yield ast.unparse(given[0]).removeprefix("f").strip("'\"") if given else ""


def test_every_skip_says_what_it_needs():
    reasons = {path.name: list(skip_reasons(ast.parse(path.read_text()))) for path in TESTS}
    assert sum(map(len, reasons.values())) > 5
    for name, found in reasons.items():
        for reason in found:
            assert re.match(r"needs .+: .+", reason), f"{name}: {reason!r} is not 'needs WHAT: how to get it'"


def test_the_reasons_are_found():
    tree = ast.parse("pytest.skip('a')\npytest.importorskip('b')\npytest.mark.skipif(c, reason=f'd {e}')")
    assert list(skip_reasons(tree)) == ["a", "", "d {e}"]


def test_no_test_or_example_asks_the_installer_for_a_version():
    """importlib.metadata says 2.14.1 of a torch that calls itself 2.14.1+cu130: a version has one source,
    the module's own __version__."""
    for path in [*TESTS, *sorted((ROOT / "examples").rglob("*.py"))]:
        if path.name == Path(__file__).name:
            continue
        assert "importlib.metadata" not in path.read_text(), path
        assert "pkg_resources" not in path.read_text(), path


def test_every_test_starts_python_where_the_installed_softdp_is_found():
    """Not in the checkout, where it would import the source: run_python sees to that."""
    starts = [path.name for path in TESTS if "sys.executable" in path.read_text()]
    assert starts == ["helpers.py", Path(__file__).name]


def test_needs_packages_passes_what_is_there():
    skips.needs_packages("pytest", "ast", extra="test")
