"""Why tests were skipped: the groups at the end of a run, and the words that make a group.

Every reason in this suite reads "needs WHAT: how to get it". Tests with the same reason are one group.
"""

from __future__ import annotations

import textwrap
from collections import Counter

import pytest


def needs_packages(*packages: str, extra: str) -> None:
    """Skip the test, or the file, unless the packages can be imported; `extra` of softdp installs them."""
    for package in packages:
        pytest.importorskip(package, reason=f'needs {package}: pip install ".[{extra}]"')


def pytest_terminal_summary(terminalreporter) -> None:
    """One entry a reason, with the number of tests that it kept from running."""
    tests, files = Counter(), Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = _reason(report)
        if isinstance(report, pytest.CollectReport):  # a whole file
            files[reason] += 1
        else:
            tests[reason] += 1
    if not tests and not files:
        return
    terminalreporter.section("skipped, and what each group needs")
    for reason, _ in (tests + files).most_common():
        counts = ((tests[reason], "test"), (files[reason], "whole file"))
        number = " and ".join(f"{n} {what}{'s' if n > 1 else ''}" for n, what in counts if n)
        width = max(40, terminalreporter._tw.fullwidth)
        terminalreporter.write_line(textwrap.fill(f"{number}: {reason}", width, subsequent_indent="    "))


def _reason(report) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return " ".join(text.removeprefix("Skipped: ").split())
