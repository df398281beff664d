"""The smallest example: it stays small, and its loss falls."""

import re

from helpers import ROOT, run_python

EXAMPLE = ROOT / "examples" / "minimal.py"


def test_the_loss_falls_to_a_tenth():
    done = run_python(EXAMPLE)
    assert done.returncode == 0, done.stderr
    losses = [float(value) for value in re.findall(r"^step +\d+: loss (-?\d+\.\d\d)$", done.stdout, re.M)]
    assert len(losses) == done.stdout.count("\n") == 6
    assert 0 < losses[-1] < losses[0] / 10


def test_it_has_at_most_40_lines():
    assert EXAMPLE.read_text().count("\n") <= 40
