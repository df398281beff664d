"""The table of recurrences: its rows against the operators' schemas, and what the operators get from it."""

import itertools
import re

import pytest
import torch
from devices import is_gpu
from helpers import ROOT

from softdp._recurrences import BOUNDARIES, RECURRENCES, Recurrence

STEPS = "forward", "backward", "double_backward"
LENGTHS = "x_lengths", "y_lengths"


def arguments(row: Recurrence) -> list[list[str]]:
    """The arguments of a row's three operators, as the head of softdp/_recurrences.py has them."""
    needs = [f"need_{name}" for name in row.scores]
    directions = [f"v_{name}" for name in row.scores] if len(row.scores) > 1 else ["v"]
    given = [*row.scores, *LENGTHS, *row.options]
    return [
        [*given, "save"],
        ["grad_score", "saved", *given, *(needs if len(needs) > 1 else []), *["visits"] * row.visits],
        [*directions, "grad_score", *given, *needs],
    ]


def operator(name: str) -> torch._ops.OpOverload:
    return getattr(torch.ops.softdp, name).default


@pytest.mark.parametrize("row", RECURRENCES, ids=lambda row: row.name)
def test_a_row_has_the_arguments_and_results_of_its_schemas(row):
    results = [2, len(row.scores), 1 + len(row.scores)]
    for name, expected, count in zip(row.operators, arguments(row), results, strict=True):
        schema = operator(name)._schema
        assert [argument.name for argument in schema.arguments] == expected
        assert len(schema.returns) == count


@pytest.mark.parametrize("row", RECURRENCES, ids=lambda row: row.name)
def test_the_first_score_is_a_tensor_and_gaps_alone_may_be_none(row):
    types = {a.name: str(a.type) for a in operator(row.operators[0])._schema.arguments}
    assert types[row.scores[0]] == "Tensor"
    assert {types[name] for name in row.scores[1:]} <= {"Tensor", "Optional[Tensor]"}
    assert {types[name] for name in row.options} <= {"float", "int", "bool"}
    assert types["gamma"] == "float"


def test_every_recurrence_of_the_schemas_has_a_row():
    schemas = (ROOT / "csrc/ops/library.cpp").read_text()
    found = re.findall(rf'"(\w+?)_({"|".join(STEPS)})\(', schemas)
    assert len(found) >= 6
    rows = {name for row in RECURRENCES for name in row.operators}
    assert {f"{name}_{step}" for name, step in found} == rows


@pytest.mark.parametrize("name", [name for row in RECURRENCES for name in row.operators])
@pytest.mark.parametrize("key", ["Meta", "Autograd", "FuncTorchBatched"])
def test_an_operator_has_shapes_derivatives_and_a_vmap_rule(name, key):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"softdp::{name}", key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.1])
@pytest.mark.parametrize("size", [(5, 6), (32, 32), (33, 4)], ids=str)
def test_the_fake_operator_saves_what_the_operator_saves(device, size, gamma, dtype):
    match = torch.zeros(2, *size, dtype=dtype, device=device)
    cases = itertools.product(RECURRENCES, ("free", "overlap", "local"), (-1,) if is_gpu(device) else (-1, 2))
    for row, boundary, bandwidth in cases:
        several = row.has_several_states(BOUNDARIES.index(boundary))
        if (is_gpu(device) and several) or (boundary == "local" and bandwidth >= 0):
            continue
        for delete in ([match], [None]):
            gaps = [match, *delete, match][: len(row.scores) - 1]
            named = {"gamma": gamma, "threshold": 0.5, "bandwidth": bandwidth}
            named["boundary"] = BOUNDARIES.index(boundary)
            options = [named.get(name, False) for name in row.options]
            given = match, *gaps, None, None, *options, True
            score, saved = operator(row.operators[0])(*given)
            with torch._subclasses.FakeTensorMode() as mode:
                fakes = [mode.from_tensor(t) if torch.is_tensor(t) else t for t in given]
                fake_score, fake = operator(row.operators[0])(*fakes)
            assert fake.shape == saved.shape and fake.dtype == saved.dtype
            assert fake_score.shape == score.shape and fake_score.dtype == score.dtype
