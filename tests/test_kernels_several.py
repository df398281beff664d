"""The CUDA kernels of several states a cell: local alignments and affine gaps. kernel_checks.py says how they
run here."""

import math

import harness
import pytest
import torch
from families import FAMILIES
from families import tables_of as named_tables
from helpers import close, score_and_gradients
from kernel_checks import (  # noqa: F401  (one_thread is a fixture)
    ALL_BLOCKS,
    F32,
    assert_padding_is_zero,
    one_thread,
    reduced,
    run,
)

import softdp
from softdp._recurrences import BOUNDARIES, RECURRENCES

F64 = torch.float64
INF = math.inf
# The kernels' name of each family, and the schedules: a block needs up to 98 KiB.
KERNELS = {
    "fsd": "local_fsd",
    "smith_waterman": "smith_waterman",
    "smith_waterman affine": "local_affine",
    "needleman_wunsch global": "affine",
    "needleman_wunsch subsequence": "affine",
    "needleman_wunsch overlap": "affine",
}
OPERATOR = {"fsd": "fsd", "smith_waterman": "needleman_wunsch"}  # of others: affine
SCHEDULES = [("forward", ALL_BLOCKS, 1, 227), ("random", 3, 7, 99)]
AFFINE = "needleman_wunsch "
TOLERANCE = {F64: 1e-9, F32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
SIZES = [(1, 1), (1, 33), (33, 1), (9, 17), (31, 15), (32, 32), (33, 31), (65, 18), (20, 64), (129, 7)]
GAPS = ["cells", "rows", "columns", "pairs", "number", "mixed"]
every_family = pytest.mark.parametrize("name", FAMILIES)


def inputs_of(name, size, gaps="cells", dtype=F64):
    """match, insert, delete and, with affine gaps, open. delete is None where the family has none."""
    tables = {"delete": None} | named_tables(FAMILIES[name], size, gaps, dtype)
    return tuple(tables[key] for key in ("match", "insert", "delete", "open") if key in tables)


def swept(name, inputs, schedules=SCHEDULES, **options):
    return run(KERNELS[name], inputs, schedules, boundary=FAMILIES[name].boundary, **options)


def expected(name, inputs, **options):
    """Score and gradients by the reference in float64."""

    def score(match, insert, delete, *opened, **options):
        tables = {"match": match, "insert": insert, "delete": delete}
        tables |= {"open": opened[0]} if opened else {}
        return FAMILIES[name].score(softdp.reference, tables, **options)

    exact = [None if t is None else t.double() for t in inputs]
    return score_and_gradients(score, exact, **options)


def check(name, inputs, schedules=SCHEDULES, **options):
    found = swept(name, inputs, schedules, **options)
    score, gradients = expected(name, inputs, **options)
    dtype = inputs[0].dtype
    close(found.score.double(), score, max(1, options["gamma"]) * (1e-9 if dtype == F64 else 1e-5))
    for t, gradient, wanted in zip(inputs, found.gradients, gradients, strict=True):
        if wanted is None:
            assert gradient is None
            continue
        # Of a gap that is broadcast it is a sum.
        close(reduced(gradient, t), wanted, TOLERANCE[dtype] * max(1.0, wanted.abs().max().item()))
    assert_padding_is_zero(found, inputs[0].shape, options)
    return found


def ragged(N, M):
    return {
        "x_lengths": torch.tensor([N, max(1, N - 2), max(1, N // 2)]),
        "y_lengths": torch.tensor([max(1, M - 1), M, max(1, M // 3)], dtype=torch.int32),
    }


@every_family
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_at_every_tile_edge(name, size):
    turn = SIZES.index(size) + list(FAMILIES).index(name)
    lengths = ragged(*size) if turn % 2 else {}
    for k, (dtype, gamma) in enumerate([(F64, 0.3), (F32, 0.3), (F32, 0.0), (F64, 0.0)]):
        gaps = GAPS[(turn + k) % len(GAPS)]
        check(name, inputs_of(name, (3, *size), gaps, dtype), SCHEDULES[k % 2 :], gamma=gamma, **lengths)


@every_family
@pytest.mark.parametrize("gaps", GAPS)
def test_kinds_of_gaps(name, gaps):
    check(name, inputs_of(name, (2, 40, 19), gaps), gamma=0.2)


@every_family
def test_second_order_of_some_sizes(name):
    for size, gaps, dtype in [
        ((1, 1), "cells", F64),
        ((40, 2), "cells", F64),
        ((33, 18), "mixed", F64),
        ((20, 40), "pairs", F32),
    ]:
        inputs = inputs_of(name, (3, *size), gaps, dtype)
        options = {"gamma": 0.4, **ragged(*size)}
        directions = tuple(None if t is None else torch.randn(t.shape).to(dtype) for t in inputs)
        grad = torch.tensor([0.7, 1.3, -0.4], dtype=dtype)
        found = swept(name, inputs, grad=grad, directions=directions, **options)
        leaves = [t if t is None else t.double().expand(3, *size).clone().requires_grad_() for t in inputs]
        tables = {"match": leaves[0], "insert": leaves[1], "delete": leaves[2]}
        tables |= {"open": leaves[3]} if len(leaves) > 3 else {}
        score = FAMILIES[name].score(softdp.reference, tables, **options)
        leaves, along = [[t for t in some if t is not None] for some in (leaves, directions)]
        first = torch.autograd.grad(score.sum(), leaves, create_graph=True)
        tangent = sum((g * v.double()).sum((1, 2)) for g, v in zip(first, along, strict=True))
        wanted = torch.autograd.grad((tangent * grad.double()).sum(), leaves)
        scale = TOLERANCE[dtype] * max(1.0, tangent.abs().max().item())
        close(found.score.double(), tangent.detach(), scale)
        products = [t for t in found.gradients if t is not None]
        for product, by in zip(products, wanted, strict=True):
            close(product.double(), by, TOLERANCE[dtype] * max(1.0, by.abs().max().item()))


@every_family
def test_the_hard_maximum_has_no_curvature(name):
    inputs = inputs_of(name, (2, 34, 20))
    directions = tuple(None if t is None else torch.randn(t.shape, dtype=F64) for t in inputs)
    found = swept(name, inputs, gamma=0.0, directions=directions)
    _, gradients = expected(name, inputs, gamma=0.0)
    along = zip(gradients, directions, strict=True)
    close(found.score, sum((g * v).sum((1, 2)) for g, v in along if g is not None), 1e-12)
    assert all(t is None or (t == 0).all() for t in found.gradients)


def test_costs_of_a_local_path():
    """Of the local FSD of costs the score is their smooth minimum."""
    inputs = inputs_of("fsd", (2, 37, 20), dtype=F32)
    found = swept("fsd", tuple(-t for t in inputs), gamma=0.2, costs=True)
    wanted = swept("fsd", inputs, gamma=0.2)
    assert torch.equal(found.score, -wanted.score)
    for a, b in zip(found.gradients, wanted.gradients, strict=True):
        assert torch.equal(a, b)


@every_family
@pytest.mark.parametrize("dtype", harness.HALF, ids=str)
def test_halves_of_several_states(name, dtype):
    inputs = inputs_of(name, (2, 40, 21), "number", dtype)
    check(name, inputs, SCHEDULES[:1], gamma=0.2)
    wide = tuple(t if t is None or i == 0 else t.float() for i, t in enumerate(inputs))
    assert torch.equal(swept(name, wide, gamma=0.2).score, swept(name, inputs, gamma=0.2).score)


@every_family
@pytest.mark.parametrize("bad", [math.nan, INF])
def test_nan_and_inf_spoil_all_states(name, bad):
    for turn, (dtype, gamma) in enumerate([(F32, 0.2), (F64, 0.0)]):
        clean = inputs_of(name, (3, 70, 20), dtype=dtype)
        others = swept(name, tuple(t if t is None else t[[0, 2]] for t in clean), SCHEDULES[:1], gamma=gamma)
        tables = [i for i, t in enumerate(clean) if t is not None]
        for i, at in zip((tables * 3)[turn:], [(0, 0), (40, 3), (69, 19), (33, 19)], strict=False):
            inputs = tuple(t if t is None else t.clone() for t in clean)
            inputs[i][1, at[0], at[1]] = bad
            for grad in (1.0, 0.0):
                weights = torch.tensor([1.0, grad, 1.0], dtype=dtype)
                found = swept(name, inputs, SCHEDULES[:1], gamma=gamma, grad=weights)
                assert found.score.isnan().tolist() == [False, True, False]
                for gradient, other in zip(found.gradients, others.gradients, strict=True):
                    if gradient is None:
                        continue
                    assert torch.equal(gradient[[0, 2]], other)
                    assert (gradient[1].isnan() if grad else gradient[1] == 0).all()
            along = tuple(t if t is None else torch.ones_like(t) for t in inputs)
            found = swept(name, inputs, SCHEDULES[:1], gamma=gamma, directions=along)
            assert found.score.isnan().tolist() == [False, True, False]
            assert all(
                g is None or g[1].isnan().all() and g[[0, 2]].isfinite().all() for g in found.gradients
            )
            for t in along:
                if t is not None:
                    t[1] = 0
            found = swept(name, inputs, SCHEDULES[:1], gamma=gamma, directions=along)
            assert found.score[1] == 0 and all(g is None or (g[1] == 0).all() for g in found.gradients)


@every_family
def test_forbidden_cells_and_pairs_without_a_path(name):
    for dtype, gamma in [(F32, 0.2), (F64, 0.0), (F64, 0.2)]:
        inputs = inputs_of(name, (3, 40, 19), dtype=dtype)
        forbidden = torch.rand(3, 40, 19) < 0.3
        inputs[0][forbidden] = inputs[1][forbidden.roll(1, 1)] = -INF
        for t in inputs:
            if t is not None:
                t[2] = -INF
        found = check(name, inputs, SCHEDULES[:1], gamma=gamma)
        assert found.score[2] == -INF and (found.gradients[0][2] == 0).all()
        assert (found.gradients[0][forbidden] == 0).all()
        along = tuple(t if t is None else torch.ones_like(t) for t in inputs)
        found = swept(name, inputs, SCHEDULES[:1], gamma=gamma, directions=along)
        assert found.score[2] == 0 and all(g is None or (g[2] == 0).all() for g in found.gradients)


@every_family
def test_scores_below_the_range_hide_no_path(name):
    inputs = inputs_of(name, (2, 35, 5), dtype=F32)
    for t in inputs:
        if t is not None:
            t[1] = -1e7
    found = swept(name, inputs, gamma=0.2)
    assert found.score[0].isfinite() and found.score[1].isnan() and found.gradients[0][1].isnan().all()


@every_family
def test_lengths_that_are_empty_or_do_not_fit(name):
    boundary = FAMILIES[name].boundary
    lengths = {"x_lengths": [0, 3, 0, 41, -1, 7], "y_lengths": [5, 0, 0, 3, 3, 20]}
    lengths = {key: torch.tensor(value) for key, value in lengths.items()}
    empty = {"local": [-INF, -INF, -INF], "subsequence": [0.0, -INF, 0.0], "overlap": [0.0, 0.0, 0.0]}
    for gaps in ("cells", "mixed", "number"):
        inputs = inputs_of(name, (6, 40, 20), gaps, F32)
        found = swept(name, inputs, gamma=0.2, **lengths)
        numbers = [t.double().flatten()[0].item() for t in inputs if t is not None]
        costs = [numbers[-1] + 4 * numbers[1], numbers[-1] + 2 * numbers[1], 0.0]
        free = costs if gaps == "number" else [-INF, -INF, 0.0]
        close(found.score[:3], torch.tensor(empty.get(boundary, free)), 1e-5)
        assert found.score.isnan().tolist() == [False, False, False, True, True, False]
        assert (found.gradients[0][:5] == 0).all()
        sums = [t[:5].sum((1, 2)).tolist() for t in found.gradients[1:] if t is not None]
        steps = [[4.0, 2, 0, 0, 0], [1.0, 1, 0, 0, 0]]  # after the first one, and the first one
        charged = gaps == "number" and boundary == "global"
        assert sums == (steps if charged else [[0.0] * 5] * len(sums))


@every_family
def test_exponents_that_leave_32_bits(name):
    for gamma in (1e-4, 1e-5):
        inputs = inputs_of(name, (2, 70, 40), dtype=F32)
        found = swept(name, tuple(t if t is None else 10 * t for t in inputs), gamma=gamma)
        score, gradients = expected(name, tuple(t if t is None else 10 * t for t in inputs), gamma=gamma)
        close(found.score.double() / 10, score / 10, 1e-5)
        for gradient, wanted in zip(found.gradients, gradients, strict=True):
            if wanted is not None:
                close(gradient.double(), wanted, 1e-2)


@pytest.mark.parametrize("boundary", ["global", "subsequence", "overlap"])
def test_sums_that_leave_32_bits(boundary):
    """Of negative scores: below row 75 all states are far from 0."""
    inputs = tuple(
        None if t is None else 0 * t - 2.4e6 for t in inputs_of(AFFINE + boundary, (2, 100, 20), dtype=F32)
    )
    inputs[0][1, :, ::3] += 1
    score, gradients = expected(AFFINE + boundary, inputs, gamma=1.0)
    found = swept(AFFINE + boundary, inputs, gamma=1.0)
    close(found.score.double(), score, 1e-6)
    for gradient, wanted in zip(found.gradients, gradients, strict=True):
        if wanted is not None:
            close(gradient.double(), wanted, 1e-2)


def test_a_path_from_the_corner_only():
    """ "anchored", which no public function has with affine gaps: "global" without gaps on the boundary."""
    match, insert, delete, opened = inputs_of("needleman_wunsch global", (2, 40, 37))
    found = run("affine", (match, insert, delete, opened), SCHEDULES, gamma=0.3, boundary="anchored")
    opened = opened.clone()
    opened[:, 0, 0] = -INF
    wanted = run("affine", (match, insert, delete, opened), SCHEDULES, gamma=0.3)
    close(found.score, wanted.score, 1e-12)
    for a, b in zip(found.gradients, wanted.gradients, strict=True):
        if b is not None:
            close(a, b, 1e-12)


@every_family
def test_only_what_is_needed_of_several_states(name):
    inputs = inputs_of(name, (2, 40, 20), "mixed", F32)
    everything = swept(name, inputs, SCHEDULES[:1], gamma=0.2)
    for needed in range(len(inputs)):
        needs = tuple(i == needed for i in range(4))
        some = swept(name, inputs, SCHEDULES[:1], gamma=0.2, needs=(True, *needs[1:]))
        for i, (a, b) in enumerate(zip(some.gradients, everything.gradients, strict=True)):
            if i > 0 and i != needed:
                assert a is None
            elif b is not None:
                assert torch.equal(a, b)
    assert torch.equal(swept(name, inputs, SCHEDULES[:1], gamma=0.2, save=False).score, everything.score)


@every_family
def test_bytes_of_several_states(name):
    """softdp/_recurrences.py says the same. With gamma 0 a path has 4 bytes a cell, in float64, too."""
    kernels, kernel = harness.module(), KERNELS[name]
    local = BOUNDARIES.index("local") if FAMILIES[name].boundary == "local" else None
    row = next(r for r in RECURRENCES if r.name == OPERATOR.get(name, "affine"))
    for dtype, size in ((F32, 4), (F64, 8)):
        for gamma in (0.0, 0.1):
            for cells in ((5, 7), (40, 50)):
                for bandwidth in (-1, 3):
                    numbers = row.numbers(False, dtype, gamma, local, *cells, bandwidth)
                    name = str(dtype).removeprefix("torch.")
                    told = kernels.saved_bytes(kernel, name, gamma, *cells, bandwidth)
                    assert numbers * size == told
                    if gamma == 0 and bandwidth < 0:
                        assert told <= 4 * (math.prod(cells) + 1)
