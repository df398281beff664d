"""The CUDA kernels' own sources, run on the CPU by tests/kernels: every regime against the reference in
float64. Every problem runs under three schedules, whose results must be the same bit for bit; every output
starts as NaN between canaries, so that what is not written, or written beside, shows.

Regimes: tiny pairs (N, M <= 32, groups of 8, 16 or 32 lanes), one band (N <= 128), bands in a chain.
"""

import itertools
import math
import struct

import harness
import numpy as np
import oracle
import pytest
import torch
from helpers import close, score_and_gradients, scores
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gradients import recurring
from test_properties import lengths, tables

import softdp

F32 = torch.float32
GAMMA = 0.1
LOG2E = math.log2(math.e)
ALL_BLOCKS = 1 << 30
# The order of turns, blocks at once, the seed, a block's shared memory in KiB: bands of 4, 3 and 2 strips.
SCHEDULES = [("forward", ALL_BLOCKS, 1, 227), ("reverse", 2, 1, 99), ("random", 3, 7, 64)]
REGIMES = [(11, 13), (70, 50), (150, 40)]  # one size each
TOLERANCE = {torch.float64: 1e-10, F32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}

TINY = [
    (1, 1),
    (1, 5),
    (5, 1),
    (5, 8),
    (8, 5),
    (8, 9),
    (9, 8),
    (2, 32),
    (16, 17),
    (17, 16),
    (30, 30),
    (31, 32),
]
TINY += [(32, 1), (32, 31), (32, 32), (16, 30)]
ONE_BAND = [
    (1, 33),
    (33, 1),
    (2, 129),
    (31, 33),
    (32, 33),
    (33, 32),
    (33, 31),
    (32, 127),
    (33, 128),
    (64, 17),
]
ONE_BAND += [(64, 16), (96, 48), (97, 47), (127, 128), (128, 127), (128, 2), (128, 300), (33, 257)]
BANDS = [(129, 1), (129, 2), (129, 31), (130, 129), (257, 32), (256, 33), (257, 127), (288, 300), (300, 16)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The tables are small: PyTorch's threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- running and comparing ---------------------------------------------------------------------------


def run(recurrence, inputs, schedules=SCHEDULES, **options):
    """One result of all schedules, which must agree bit for bit."""
    results = []
    for schedule in schedules:
        harness.module().schedule(*schedule)
        results.append(harness.run(recurrence, inputs, **options))
    for other in results[1:]:
        for found, wanted in zip(outputs(other), outputs(results[0]), strict=True):
            assert same_bits(found, wanted), f"schedules {schedules} do not agree"
    return results[0]


def outputs(result):
    return [result.score, *(g for g in result.gradients if g is not None), *result.boundary.values()]


def same_bits(a, b):
    return torch.equal(a, b) if a.dtype == torch.uint8 else torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7))


def exactly(recurrence, inputs, library=softdp.reference, weight=None, **options):
    """Score and gradients of the score's sum, by the library in float64."""
    score = getattr(library, f"{recurrence}_score")
    if recurrence == "lcs":  # the kernels compare with the threshold in their own precision
        half = inputs[0].dtype in harness.HALF
        options["threshold"] = torch.tensor(options["threshold"]).to(F32 if half else inputs[0].dtype).item()
    return score_and_gradients(score, [None if t is None else t.double() for t in inputs], **options)


def reduced(gradient, like):
    """The kernels sum over rows and columns; over a batch of one table, PyTorch does."""
    gradient = gradient.double()
    return gradient.sum(0, keepdim=True) if like.shape[0] == 1 else gradient


def check(recurrence, inputs, library=softdp.reference, schedules=SCHEDULES, slack=1.0, **options):
    """Runs the kernels and compares score and gradients with the library's in float64."""
    found = run(recurrence, inputs, schedules, **options)
    score, gradients = exactly(recurrence, inputs, library, **options)
    dtype = inputs[0].dtype
    # A score is gamma times the logarithm of a number that is itself rounded.
    close(found.score.double(), score, max(1, options["gamma"]) * (1e-10 if dtype == torch.float64 else 1e-6))
    for i, (gradient, wanted) in enumerate(zip(found.gradients, gradients, strict=False)):
        if wanted is None:
            assert gradient is None
        else:
            close(reduced(gradient, inputs[i]), wanted, slack * TOLERANCE[dtype])
    assert_padding_is_zero(found, inputs[0].shape, options)
    return found


def assert_padding_is_zero(found, size, options):
    rows, columns = (
        torch.full(size[:1], full) if options.get(name) is None else options[name]
        for name, full in (("x_lengths", size[1]), ("y_lengths", size[2]))
    )
    inside = (torch.arange(size[1]) < rows[:, None])[:, :, None] & (torch.arange(size[2]) < columns[:, None])[
        :, None, :
    ]
    for gradient in found.gradients:
        if gradient is not None and gradient.shape == size:
            assert (gradient[~inside] == 0).all()


def tables_of(B, N, M, dtype=F32, gaps=("dense", "dense")):
    return (scores(B, N, M).to(dtype), *(gap_of(kind, B, N, M, dtype) for kind in gaps))


def gap_of(kind, B, N, M, dtype=F32):
    size = {
        "dense": (B, N, M),
        "row": (B, N, 1),
        "column": (B, 1, M),
        "pair": (B, 1, 1),
        "number": (1, 1, 1),
        "table": (1, N, M),  # one for all pairs
        "rows": (1, N, 1),
        "columns": (1, 1, M),
        "shared": None,  # delete = insert
    }[kind]
    return None if size is None else -scores(*size).abs().to(dtype)


# ---- sizes and gaps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", TINY + ONE_BAND + BANDS, ids=str)
def test_fsd_at_every_tile_edge(size):
    match, insert, delete = tables_of(2, *size)
    check("fsd", (match, insert, delete), gamma=GAMMA)
    check("fsd", (match, insert, None), gamma=GAMMA, boundary="anchored")


@pytest.mark.parametrize("size", TINY + ONE_BAND + BANDS, ids=str)
def test_lcs_at_every_tile_edge(size):
    for gamma, threshold in ((GAMMA, 0.4), (0.0, 0.7)):
        check("lcs", (scores(2, *size, dtype=F32),), gamma=gamma, threshold=threshold)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 3), (1, 33), (2, 33), (33, 1)], ids=str)
def test_against_all_paths(size, gamma):
    kernel = tables_of(1, *size, dtype=torch.float64)
    plain = [t[0].numpy() for t in kernel]
    for boundary in ("free", "anchored"):
        found = run("fsd", kernel, gamma=gamma, boundary=boundary)
        compare_with_paths(found, oracle.fsd(*plain, gamma, boundary))
    if size != (2, 33):  # too many
        found = run("lcs", kernel[:1], gamma=gamma, threshold=-0.3 if max(size) > 4 else 0.3)
        compare_with_paths(found, oracle.lcs(plain[0], -0.3 if max(size) > 4 else 0.3, gamma), gamma > 0)


def compare_with_paths(found, expected, gradients=True):
    score, *tables = expected
    assert found.score.item() == pytest.approx(score, rel=1e-12, abs=1e-12)
    for gradient, wanted in zip(found.gradients if gradients else (), tables, strict=False):
        close(gradient[0], torch.from_numpy(np.asarray(wanted)), 1e-10)


KINDS = ["dense", "row", "column", "pair", "number", "table", "rows", "columns"]
MIXED = [(a, b) for a, b in itertools.product(KINDS[:5], repeat=2) if a != b] + [("table", "columns")]


@pytest.mark.parametrize("gaps", [(k, d) for k in KINDS for d in (k, "shared")] + MIXED, ids="-".join)
def test_gap_kinds(gaps):
    for size in REGIMES:
        check("fsd", tables_of(3, *size, gaps=gaps), gamma=GAMMA, slack=5)
    match, insert, delete = tables_of(2, 140, 35, gaps=gaps)
    check("fsd", (match, insert, delete), gamma=0.0, boundary="anchored", slack=5)


@pytest.mark.parametrize("gaps", [("row", "column"), ("column", "shared"), ("pair", "number")], ids="-".join)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_gap_kinds_of_other_types(dtype, gaps):
    for size in REGIMES:
        check("fsd", tables_of(2, *size, dtype=dtype, gaps=gaps), gamma=GAMMA, slack=4)


@pytest.mark.parametrize("B", range(1, 10))
def test_tiny_pairs_share_a_warp(B):
    for N, M in ((5, 6), (12, 30), (20, 7)):
        given = {
            "x_lengths": torch.randint(0, N + 1, (B,), dtype=torch.int32),
            "y_lengths": torch.randint(0, M + 1, (B,)),
        }
        check("fsd", tables_of(B, N, M), gamma=GAMMA, **given)
        check("fsd", tables_of(B, N, M, gaps=("row", "shared")), gamma=GAMMA, boundary="anchored")
        check("lcs", (scores(B, N, M, dtype=F32),), gamma=0.0, threshold=0.2, **given)


@pytest.mark.parametrize("B, N, M", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (2, 0, 50), (2, 50, 0), (2, 0, 0)]
                         + [(0, 50, 50), (2, 0, 200), (2, 200, 0)])  # fmt: skip
def test_no_cells(B, N, M):
    for gaps in (("dense", "dense"), ("row", "shared"), ("column", "number"), ("pair", "row")):
        for boundary in ("free", "anchored"):
            check("fsd", tables_of(B, N, M, gaps=gaps), gamma=GAMMA, boundary=boundary)
    check("lcs", (scores(B, N, M, dtype=F32),), gamma=GAMMA, threshold=0.1)


# ---- lengths, types, strides -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("size", [*REGIMES, (257, 40), (31, 150)], ids=str)
def test_ragged_lengths(size, kind):
    N, M = size
    x = torch.tensor([N, 0, 1, N // 2, N - 1, 3, min(N, 33)], dtype=kind)
    y = torch.tensor([M - 1, 3, M, 0, M // 2, 1, min(M, 17)], dtype=kind)
    given = {"x_lengths": x, "y_lengths": y}
    for gaps in (("dense", "dense"), ("row", "column"), ("number", "shared")):
        inputs = [t.clone() for t in tables_of(7, N, M, gaps=gaps) if t is not None]
        inputs[0][torch.arange(N) >= x[:, None]] = math.nan  # is never read
        check("fsd", (*inputs, None)[:3], gamma=GAMMA, boundary="anchored", slack=5, **given)
    check("lcs", (scores(7, N, M, dtype=F32),), gamma=GAMMA, threshold=0.5, **given)
    check("fsd", tables_of(7, N, M), gamma=0.0, x_lengths=x)
    check("fsd", tables_of(7, N, M), gamma=GAMMA, y_lengths=y)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_lengths_out_of_range_score_nan_and_touch_nothing(size):
    N, M = size
    x = torch.tensor([N, N + 1, -1, N, N, 2**31 - 1, 0])
    y = torch.tensor([M, M, M, -3, M + 1, 2, M])
    unfit = (x < 0) | (x > N) | (y < 0) | (y > M)
    for kind in (torch.int32, torch.int64):
        given = {"x_lengths": x.to(kind), "y_lengths": y.to(kind)}
        for gaps in (("dense", "dense"), ("row", "column"), ("pair", "shared")):
            found = run("fsd", tables_of(7, N, M, gaps=gaps), gamma=GAMMA, **given)
            assert torch.equal(found.score.isnan(), unfit)
            assert all((g[unfit] == 0).all() for g in found.gradients if g is not None)
            assert all(g.isfinite().all() for g in found.gradients if g is not None)
    huge = {"x_lengths": torch.full((7,), 2**40 + 1), "y_lengths": torch.full((7,), 2**32 + 1)}
    assert run("lcs", (scores(7, N, M, dtype=F32),), gamma=0.0, threshold=0.1, **huge).score.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [*REGIMES, (33, 129)], ids=str)
def test_other_types(size, dtype):
    for gamma in (GAMMA, 0.0):
        check("fsd", tables_of(2, *size, dtype=dtype), gamma=gamma)
        check("fsd", tables_of(2, *size, dtype=dtype, gaps=("dense", "shared")), gamma=gamma, slack=4)
        check("lcs", tables_of(2, *size, dtype=dtype)[:1], gamma=gamma, threshold=0.5)


@pytest.mark.parametrize("dtype", harness.HALF, ids=str)
@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_gaps_wider_than_the_scores(size, dtype):
    """A number beside half scores is not rounded to them; only its gradient is."""
    for kind, other in (("number", "shared"), ("number", "number"), ("row", "pair"), ("pair", "shared")):
        match = scores(2, *size).to(dtype)
        gaps = (gap_of(kind, 2, *size), gap_of(other, 2, *size))
        for gamma in (GAMMA, 0.0):
            check("fsd", (match, *gaps), gamma=gamma, slack=4)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_strides(size):
    N, M = size
    dense = scores(2, 2 * M, 3 * N, dtype=F32).transpose(1, 2)[:, ::3, ::2]
    flipped = scores(N, 2, M, dtype=F32).transpose(0, 1)
    odd = scores(2 * N * M + 1, dtype=F32)[1:].view(2, N, M)  # starts off any multiple of 8 bytes
    row, column = (
        scores(3 * N, dtype=F32)[::3].view(1, N, 1),
        scores(2 * M, 2, dtype=F32)[::2, 1].view(1, 1, M),
    )
    before = [t.clone() for t in (dense, flipped, odd)]
    check("fsd", (dense, flipped, odd), gamma=GAMMA)
    check("fsd", (odd, row, column), gamma=GAMMA, slack=5)
    check("fsd", (flipped, column, None), gamma=GAMMA, slack=5)
    check("fsd", (dense.half(), flipped.half(), None), gamma=GAMMA)
    check("lcs", (dense,), gamma=GAMMA, threshold=0.3)
    assert all(torch.equal(a, b) for a, b in zip(before, (dense, flipped, odd), strict=True))


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_only_what_is_needed(size):
    for gaps in (("dense", "dense"), ("row", "column"), ("number", "shared"), ("column", "dense")):
        inputs = tables_of(2, *size, gaps=gaps)
        full = run("fsd", inputs, gamma=GAMMA)
        assert torch.equal(run("fsd", inputs, gamma=GAMMA, save=False).score, full.score)
        for needs in itertools.product((True, False), repeat=3):
            some = run("fsd", inputs, SCHEDULES[1:2], gamma=GAMMA, needs=needs)
            for need, gradient, whole in zip(needs, some.gradients, full.gradients, strict=True):
                assert torch.equal(gradient, whole) if need and whole is not None else gradient is None
    similarity = scores(2, *size, dtype=F32)
    full = run("lcs", (similarity,), gamma=0.0, threshold=0.2)
    assert torch.equal(run("lcs", (similarity,), gamma=0.0, threshold=0.2, save=False).score, full.score)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_the_gradient_of_the_score_scales_and_stays_in_its_pair(size):
    grad = torch.tensor([1.0, 0.0, -2.5, math.nan, math.inf])
    for gaps in (("dense", "dense"), ("row", "column"), ("pair", "shared")):
        inputs = tables_of(5, *size, gaps=gaps)
        ones = run("fsd", inputs, gamma=GAMMA)
        found = run("fsd", inputs, gamma=GAMMA, grad=grad)
        for gradient, plain in zip(found.gradients, ones.gradients, strict=True):
            if gradient is not None:
                close(gradient[:3], plain[:3] * grad[:3, None, None], 1e-5)
                assert not gradient[3][plain[3] > 1e-30].isfinite().any()
                assert not gradient[4][plain[4] > 1e-30].isfinite().any()
    similarity = scores(5, *size, dtype=F32)
    ones = run("lcs", (similarity,), gamma=GAMMA, threshold=0.2)
    found = run("lcs", (similarity,), gamma=GAMMA, threshold=0.2, grad=grad)
    close(found.gradients[0][:3], ones.gradients[0][:3] * grad[:3, None, None], 1e-5)


# ---- ties, masks, bad numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 4), *REGIMES], ids=str)
def test_ties_go_to_match_then_insert_then_delete(size):
    """gamma = 0 over small whole numbers, where most cells are ties."""
    for boundary in ("free", "anchored"):
        whole = [torch.randint(-2, 2, (2, *size)).float() for _ in range(3)]
        check("fsd", (whole[0], whole[1].abs().neg(), whole[2].abs().neg()), gamma=0.0, boundary=boundary)
        check(
            "fsd", (torch.zeros(2, *size), torch.zeros(1, 1, 1), None), gamma=0.0, boundary=boundary, slack=5
        )
        check("fsd", (whole[0], torch.zeros(1, 1, 1), torch.zeros(2, *size)), gamma=0.0, boundary=boundary)
    check("lcs", (torch.randint(-2, 3, (2, *size)).float(),), gamma=0.0, threshold=1.0)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(11, 13), (70, 60), (150, 130)], ids=str)
def test_masks_and_bands(size, gamma):
    N, M = size
    off = (torch.arange(M) - torch.arange(N)[:, None] * M / N).abs()
    for boundary in ("free", "anchored"):
        match, insert, delete = tables_of(2, N, M)
        forbidden = (torch.rand(2, N, M) < 0.3) & (off > 3)
        holes = match.masked_fill(forbidden, -math.inf)
        found = check("fsd", (holes, insert, delete), gamma=gamma, boundary=boundary)
        assert all((g[forbidden] == 0).all() for g in found.gradients)
        banded = match.masked_fill(off > 2, -math.inf)
        check("fsd", (banded, insert, None), gamma=gamma, boundary=boundary)
        found = check("lcs", (holes,), gamma=gamma, threshold=0.3)
        assert (found.gradients[0][forbidden] == 0).all()


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(20, 20), (66, 66), (150, 150)], ids=str)
def test_a_forbidden_move_is_exactly_never_taken(size, gamma):
    match, gap, _ = tables_of(1, *size)
    never = torch.full((1, 1, 1), -math.inf)
    found = run("fsd", (match, never, never), gamma=gamma, boundary="anchored")
    close(found.score, match[0].diagonal().sum().reshape(1), 1e-5)
    assert torch.equal(found.gradients[0][0], torch.eye(size[0]))
    assert (found.gradients[1] == 0).all() and (found.gradients[2] == 0).all()
    for insert, delete, place in ((gap, never, 2), (never, gap, 1)):
        found = check("fsd", (match, insert, delete), gamma=gamma)
        assert (found.gradients[place] == 0).all()
    found = run("fsd", (match.masked_fill(torch.rand_like(match) < 0.4, -math.inf), gap, never), gamma=gamma)
    assert (found.gradients[2] == 0).all()


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [*REGIMES, (290, 20)], ids=str)
def test_no_path_is_minus_infinity_without_a_gradient(size, gamma):
    N, M = size
    walls = [(slice(None), M // 2), (N // 2, slice(None)), (N - 1, M - 1), (0, 0)]
    match = scores(len(walls) + 1, N, M, dtype=F32)
    for b, wall in enumerate(walls):
        match[(b, *wall)] = -math.inf
    for gaps in (("dense", "dense"), ("row", "column"), ("number", "shared")):
        inputs = (match, *tables_of(5, N, M, gaps=gaps)[1:])
        found = run(
            "fsd", inputs, gamma=gamma, boundary="anchored", grad=torch.tensor([1, 2, math.nan, 1, 1])
        )
        assert (found.score[:4] == -math.inf).all() and found.score[4].isfinite()
        for gradient in found.gradients:
            if gradient is not None:
                assert (gradient[:4] == 0).all() and gradient[4].isfinite().all()
                assert (gradient[4] != 0).any()
    found = run("fsd", (match, gap_of("row", 5, N, M), None), gamma=gamma, boundary="anchored", save=False)
    assert (found.score[:4] == -math.inf).all()


def bad_places(N, M):
    """Corners, and the first and last cells of strips and bands."""
    rows = sorted({r for r in (0, 31, 32, 127, 128, N - 1) if r < N})
    return [(r, c) for r in rows for c in sorted({0, M // 2, M - 1})]


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(11, 13), (70, 40), (150, 20)], ids=str)
def test_nan_and_inf_spoil_their_own_pair(size, gamma):
    places = bad_places(*size)
    for gaps in (
        ("dense", "dense"),
        ("row", "column"),
        ("column", "shared"),
        ("row", "shared"),
        ("row", "row"),
    ):
        for which, kind in enumerate(("match", *gaps)):
            if kind == "shared":
                continue
            inputs = tables_of(2 * len(places), *size, gaps=gaps)
            spoiled = spoil(inputs[which], places)
            assert_spoiled(run("fsd", inputs, SCHEDULES[2:], gamma=gamma), spoiled)


def spoil(table, places):
    """Two pairs of three get a NaN or an inf, each elsewhere; says which."""
    spoiled = torch.arange(len(table)) % 3 != 1  # in a warp of two pairs the first, the second, or both
    for i, b in enumerate(spoiled.nonzero().flatten()):
        row, column = (
            min(at, full - 1) for at, full in zip(places[i % len(places)], table.shape[1:], strict=True)
        )
        table[b, row, column] = (math.nan, math.inf)[i % 2]
    return spoiled


def assert_spoiled(found, spoiled):
    """Those pairs are NaN through and through, the others as ever."""
    assert found.score[spoiled].isnan().all() and found.score[~spoiled].isfinite().all()
    for gradient in found.gradients:
        if gradient is not None:
            assert gradient[spoiled].isnan().all() and gradient[~spoiled].isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(11, 13), (70, 40), (150, 20)], ids=str)
def test_nan_spoils_an_lcs_whose_path_it_does_not_touch(size, gamma):
    places = bad_places(*size)
    for threshold in (-2.0, 0.5):
        c = scores(2 * len(places), *size, dtype=F32)
        spoiled = spoil(c, places)
        assert_spoiled(run("lcs", (c,), gamma=gamma, threshold=threshold), spoiled)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(11, 13), (70, 40), (150, 20)], ids=str)
def test_a_spoiled_pair_that_receives_the_gradient_0_gets_it(size, gamma):
    """0 everywhere, the padding too, by match and by gaps of every kind; NaN as ever where it is not 0."""
    grad = torch.tensor([0.0, 1.0, -0.0, 0.0, 2.0, 1e-30])
    spoiled, still = torch.tensor([True, False, True, False, True, True]), grad == 0
    lengths = {"x_lengths": torch.tensor([size[0] - 1] * 6), "y_lengths": torch.tensor([size[1] - 1] * 6)}

    def check_gradients(gradients, alive):
        for gradient in filter(lambda g: g is not None, gradients):
            assert (gradient[still] == 0).all() and gradient[~spoiled].isfinite().all()
            if alive:
                assert (gradient[1] != 0).any()
            inside = gradient[:, : max(1, gradient.shape[1] - 1), : max(1, gradient.shape[2] - 1)]
            assert inside[spoiled & ~still].isnan().all()

    for dtype in (F32, torch.bfloat16, torch.float64):
        gaps = (("dense", "dense"), ("row", "column"), ("column", "shared"), ("number", "pair"))
        for kinds in gaps if dtype == F32 else gaps[:2]:
            inputs = tables_of(6, *size, dtype=dtype, gaps=kinds)
            inputs[0][spoiled, size[0] // 2, size[1] // 2] = math.nan
            weight = grad.double() if dtype == torch.float64 else grad
            found = run("fsd", inputs, SCHEDULES[2:], gamma=gamma, grad=weight, **lengths)
            check_gradients(found.gradients, False)
        for visits in (False, True):
            found = run("lcs", inputs[:1], SCHEDULES[2:], gamma=gamma, threshold=0.2, grad=weight,
                        visits=visits, **lengths)  # fmt: skip
            check_gradients(found.gradients, visits)
    unfit = {"x_lengths": torch.tensor([size[0] + 1] * 6)}
    for weight in (grad, torch.ones(6)):
        found = run("fsd", tables_of(6, *size), SCHEDULES[2:], gamma=gamma, grad=weight, **unfit)
        assert found.score.isnan().all() and all((g == 0).all() for g in found.gradients)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_a_spoiled_gap_beyond_the_lengths_spoils_nothing(size):
    N, M = size
    match, row, column = tables_of(2, N, M, gaps=("row", "column"))
    row[:, N - 2 :], column[:, :, M - 3 :] = math.nan, math.inf
    given = {"x_lengths": torch.tensor([N - 2, 1]), "y_lengths": torch.tensor([M - 3, 2])}
    check("fsd", (match, row, column), gamma=GAMMA, slack=5, **given)
    check("fsd", (match, row, None), gamma=GAMMA, slack=5, **given)
    check("fsd", (match, column, None), gamma=GAMMA, slack=5, **given)


# ---- accuracy and range ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 8, 9, 16, 17, 31, 32, 33, 64, 100, 128, 129, 257, 1024])
def test_path_mass_is_one_at_both_ends(size):
    inputs = (scores(1, size, size, dtype=F32), torch.zeros(1, 1, 1), None)
    for schedule in SCHEDULES if size < 1024 else SCHEDULES[:1]:
        mass = run("fsd", inputs, [schedule], gamma=GAMMA, boundary="anchored").gradients[0]
        assert mass[0, -1, -1].item() == 1
        assert mass[0, 0, 0].item() == pytest.approx(1, abs=1e-4)
        assert (mass >= 0).all() and (mass <= 1 + 1e-4).all()


def test_1024_steps_keep_the_promised_accuracy():
    inputs = (scores(1, 1024, 1024, dtype=F32), torch.zeros(1, 1, 1), None)
    found = run("fsd", inputs, SCHEDULES[:1], gamma=GAMMA)
    score, (mass, *_) = exactly("fsd", inputs, softdp, gamma=GAMMA)
    assert abs(found.score.item() / score.item() - 1) < 1e-6
    assert (found.gradients[0] - mass).abs().max() < 1e-4


@pytest.mark.parametrize("match, gap", [case for case in recurring() if case[0].shape[1] == 1024])
def test_rounding_does_not_add_up_along_a_path(match, gap):
    inputs = (match, torch.full((1, 1, 1), float(gap)), None)
    mass = run("fsd", inputs, SCHEDULES[:1], gamma=GAMMA, boundary="anchored").gradients[0]
    _, (exact, *_) = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    assert (mass - exact).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("gamma", [1e-4, 1e-3, 1e-2, 1.0, 1e3])
def test_gammas_and_scales(gamma, scale):
    for size in ((30, 25), (40, 30), (140, 20)):
        inputs = tuple(scale * t for t in tables_of(2, *size))
        found = run("fsd", inputs, gamma=gamma)
        score, gradients = exactly("fsd", inputs, gamma=gamma)
        close(found.score.double(), score, 1e-6 if scale / gamma < 1e5 else 1e-5)
        for gradient, wanted in zip(found.gradients, gradients, strict=True):
            assert (gradient - wanted).abs().max() < 1e-3


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("length", [200, 700, 1500])
def test_corridors_that_part_by_more_than_32_bits_and_join_again(length, turned):
    """Rows 1 and 3 of three, open; row 2 a wall but for its ends. In log2 the rows part by some 2^23 a step
    and meet again within less than 1, so that both carry weight."""
    step = 0.99 * 2**22 * GAMMA / LOG2E
    half = length // 2
    match = torch.full((1, 3, length + 2), -math.inf)
    swing = torch.cat([torch.full((half,), step), torch.full((half,), -step)])
    match[0, 0, 1 : 1 + 2 * half], match[0, 2, 1 : 1 + 2 * half] = swing, -swing
    match[0, 0, 0] = match[0, 1, 0] = match[0, 2, 0] = 0
    match[0, 0, 1 + 2 * half :] = match[0, 2, 1 + 2 * half :] = 0
    match[0, 1, -1], match[0, 0, -1] = 0.03, 0.02
    match = match.transpose(1, 2) if turned else match
    inputs = (match, torch.full((1, 1, 1), -0.001), None)
    found = run("fsd", inputs, gamma=GAMMA, boundary="anchored")
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    close(found.score.double(), score, 1e-4)
    first, second = ((0, 2), (0, 2)) if not turned else ((2, 0), (2, 0))
    assert 0.1 < gradients[0][0][(first if not turned else (half, 0))] < 0.9
    close(found.gradients[0].double(), gradients[0], 1e-3)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [(1, 1100), (1100, 1), (3, 600), (200, 300)], ids=str)
def test_free_boundary_beside_rows_that_have_grown(size, sign):
    """Steps of 2^22 in log2: the sum outgrows 32 bits while the boundary stays at 0."""
    match = torch.full((1, *size), sign * 0.99 * 2**22 * GAMMA / LOG2E)
    match *= 1 - 0.01 * torch.rand(1, *size)
    inputs = (match, torch.full((1, 1, 1), -0.5), None)
    found = run("fsd", inputs, gamma=GAMMA)
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA)
    close(found.score.double(), score, 1e-6)
    assert (found.gradients[0] - gradients[0]).abs().max() < 1e-3


def test_a_row_that_has_grown_by_40_bits():
    match = torch.full((1, 1, 2**18), 0.99 * 2**22 * GAMMA / LOG2E)
    found = run("fsd", (match, torch.zeros(1, 1, 1), None), SCHEDULES[:1], gamma=GAMMA)
    assert found.score.item() * LOG2E / GAMMA > 2**39.9
    assert found.score.item() == pytest.approx(match.double().sum().item(), rel=1e-6)
    assert (found.gradients[0] - 1).abs().max() < 1e-3


@pytest.mark.parametrize("gamma", [1e-3, GAMMA, 10.0])
@pytest.mark.parametrize("size", [1e6, 2.9e6, 2.92e6, 1e8, 1e12, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_at_the_end_of_the_range_are_right_or_nan(sign, size, gamma):
    """In float32 the range ends at 2.907e6 gamma. What is below -2.907e6 gamma counts as -inf, and the pair
    is NaN where that leaves no path."""
    for shape in ((5, 5), (40, 36)):
        match = torch.full((2, *shape), sign * size * gamma)
        match[1] = scores(*shape)
        match[0, 1, 2] *= 0.999
        found = run("fsd", (match, torch.zeros(1, 1, 1), None), gamma=gamma, boundary="anchored")
        score, (mass, *_) = exactly(
            "fsd", (match, torch.zeros(1, 1, 1), None), gamma=gamma, boundary="anchored"
        )
        close(found.score[1].double(), score[1], 1e-5)
        if size < 2.907e6:
            close(found.score.double(), score, 1e-6)
            assert (found.gradients[0] - mass).abs().max() < 1e-3
        else:
            assert found.score[0].isnan() and found.gradients[0][0].isnan().all()


@pytest.mark.parametrize("size", [6, 40])
@pytest.mark.parametrize("low", [-1e9, -1e30])
def test_a_mask_of_large_numbers_is_one_of_minus_infinity(low, size):
    match = scores(2, size, size, dtype=F32)
    off = (torch.arange(size) - torch.arange(size)[:, None]).abs() > 2
    gap = torch.full((1, 1, 1), -0.1)
    found = run("fsd", (match.masked_fill(off, low), gap, None), gamma=GAMMA, boundary="anchored")
    wanted = run("fsd", (match.masked_fill(off, -math.inf), gap, None), gamma=GAMMA, boundary="anchored")
    assert torch.equal(found.score, wanted.score) and found.score.isfinite().all()
    assert torch.equal(found.gradients[0], wanted.gradients[0])
    match[0, 2] = low  # no way past: a number for one pair, and not minus infinity
    found = run("fsd", (match, gap, None), gamma=GAMMA, boundary="anchored")
    assert found.score[0].isnan() and found.score[1].isfinite()


@pytest.mark.parametrize("gamma", [1e-310, 1e-45, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("dtype", [F32, torch.float64], ids=str)
def test_extreme_gammas(dtype, gamma):
    match = scores(1, 3, 3, dtype=dtype)
    gap = torch.zeros(1, 1, 1, dtype=dtype)
    value = run("fsd", (match, gap, None), gamma=gamma, boundary="anchored").score
    hard = run("fsd", (match, gap, None), gamma=0.0, boundary="anchored").score.item()
    expected = hard if gamma < 1 else gamma * math.log(13)  # so smooth that only the paths count
    if dtype == F32:
        expected = torch.tensor(expected, dtype=F32).item()
    assert value.isnan().item() or value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [1e-3, GAMMA, 10.0])
def test_long_chains_neither_overflow_nor_vanish(gamma):
    row = scores(1, 1, 4096, dtype=F32) * 100
    for table in (row, row.transpose(1, 2)):
        found = run(
            "fsd", (table, torch.zeros(1, 1, 1), None), SCHEDULES[:1], gamma=gamma, boundary="anchored"
        )
        assert found.score.item() == pytest.approx(row.double().sum().item(), rel=1e-5, abs=1e-3)
        assert (found.gradients[0] - 1).abs().max() < 1e-3


def test_a_diagonal_corridor():
    diagonal = torch.full((1, 1024, 1024), -math.inf)
    diagonal[0].fill_diagonal_(0.49)
    found = run("fsd", (diagonal, torch.zeros(1, 1, 1), None), SCHEDULES[:1], gamma=GAMMA)
    assert found.score.item() == pytest.approx(0.49 * 1024 + GAMMA * math.log(3), rel=1e-5)
    assert torch.equal(found.gradients[0][0], torch.eye(1024))


# ---- pieces, schedules -------------------------------------------------------------------------------


def state(value, dtype, gamma):
    """One state of a sweep: 0, or -inf, as the kernels hold it between chunks."""
    if gamma == 0:
        packed = struct.pack("d", value)
    else:
        packed = struct.pack("d" if dtype == torch.float64 else "f4x", 1.0)
        packed += struct.pack("q", 0 if value == 0 else -(2**50))
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def swept_in_pieces(recurrence, inputs, row, column, boundary, gamma, **options):
    """The score of the last of 2 x 2 pieces, each taking the edges of those before."""
    zero, nothing = (state(v, inputs[0].dtype, gamma) for v in (0.0, -math.inf))
    width = len(zero)
    far = zero if boundary == "free" else nothing
    options = {"boundary": boundary, "gamma": gamma, "save": False, **options}
    edges = {}
    for i, rows in enumerate((slice(0, row), slice(row, None))):
        for j, columns in enumerate((slice(0, column), slice(column, None))):
            given = {"corner": (zero if i + j == 0 else far)[None].contiguous()}
            if i:
                given["above"] = edges[0, j]["last_row"]
            if j:
                given["left"] = edges[i, 0]["last_column"]
            if i and j:
                given["corner"] = states_of(edges[0, 0]["last_row"], column, width)[-1:].contiguous()
            piece = tuple(None if t is None else cut(t, rows, columns) for t in inputs)
            found = run(recurrence, piece, given=given, wanted=("last_row", "last_column"), **options)
            edges[i, j] = found.boundary
    return found


def states_of(edge, count, width):
    return edge.flatten()[: count * width].view(count, width)


def cut(table, rows, columns):
    return table[
        :, rows if table.shape[1] > 1 else slice(None), columns if table.shape[2] > 1 else slice(None)
    ]


@pytest.mark.parametrize("boundary", ["free", "anchored"])
@pytest.mark.parametrize("gamma, dtype", [(GAMMA, F32), (0.0, F32), (GAMMA, torch.float64), (1e-4, F32)])
@pytest.mark.parametrize("size, at", [((20, 20), (7, 9)), ((90, 70), (32, 16)), ((200, 60), (140, 33))])
def test_a_table_swept_in_pieces_is_the_whole_one(size, at, gamma, dtype, boundary):
    for gaps in (("dense", "dense"), ("row", "column"), ("column", "shared")):
        inputs = tables_of(1, *size, dtype=dtype, gaps=gaps)
        whole = run("fsd", inputs, gamma=gamma, boundary=boundary, save=False)
        pieces = swept_in_pieces("fsd", inputs, *at, boundary, gamma)
        close(pieces.score, whole.score, 1e-7 if dtype == F32 else 1e-14)
    whole = run("lcs", inputs[:1], gamma=gamma, threshold=0.3, save=False)
    pieces = swept_in_pieces("lcs", inputs[:1], *at, "free", gamma, threshold=0.3)
    close(pieces.score, whole.score, 1e-7 if dtype == F32 else 1e-14)


def test_edges_of_several_pairs():
    """The last row and column hold S itself: as boundary of a piece of nothing but free moves they score."""
    match, insert, delete = tables_of(3, 140, 50)
    upper = harness.run("fsd", (match[:, :70], insert[:, :70], delete[:, :70]), gamma=GAMMA, save=False,
                        wanted=("last_row",))  # fmt: skip
    lower = tuple(t[:, 70:].contiguous() for t in (match, insert, delete))
    found = run("fsd", lower, gamma=GAMMA, given={"above": upper.boundary["last_row"]})
    score, gradients = exactly("fsd", (match, insert, delete), gamma=GAMMA)
    close(found.score.double(), score, 1e-6)
    for gradient, wanted in zip(found.gradients, gradients, strict=True):
        close(gradient.double(), wanted[:, 70:], 1e-5)


@pytest.mark.parametrize("kind", ["fsd", "sums", "lcs"])
def test_schedules_and_resident_blocks_change_nothing(kind):
    """Bands of 1, 3 and 4 strips of two pairs: with one block at a time only tickets keep one from waiting
    for ever."""
    gaps = ("column", "row") if kind == "sums" else ("dense", "shared")
    inputs = tables_of(2, 600, 70, gaps=gaps)
    schedules = [
        (order, blocks, 5, shared)
        for order, shared in (("forward", 99), ("reverse", 227), ("random", 227), ("random", 48))
        for blocks in (1, 2, ALL_BLOCKS)
    ]
    if kind == "lcs":
        run("lcs", inputs[:1], schedules, gamma=GAMMA, threshold=0.2)
    else:
        run("fsd", inputs, schedules, gamma=GAMMA)


@pytest.mark.parametrize("seed", range(4))
def test_warps_far_ahead_of_others(seed):
    """A strip that runs on while the next one sleeps must not overwrite what that has not taken."""
    inputs = tables_of(1, 260, 500, gaps=("dense", "shared"))
    run("fsd", inputs, [SCHEDULES[0], ("random", ALL_BLOCKS, 100 + seed, 227)], gamma=GAMMA)


# ---- second order ------------------------------------------------------------------------------------


def check_products(recurrence, inputs, directions, needs=(True,) * 3, **options):
    """The Hessian's products, and the score's derivative along the directions, against the reference's."""
    schedules = SCHEDULES
    if inputs[0].dtype == torch.float64:  # a strip takes 85 KiB; the least that a GPU has is 99
        schedules = [*SCHEDULES[:2], (*SCHEDULES[2][:3], 99)]
    grad = torch.linspace(0.5, 2, inputs[0].shape[0], dtype=inputs[0].dtype)
    found = run(recurrence, inputs, schedules, directions=directions, grad=grad, needs=needs, **options)
    size = inputs[0].shape
    if recurrence == "lcs":
        options["threshold"] = torch.tensor(options["threshold"]).to(inputs[0].dtype).item()
    leaves = [t.double().expand(size).clone().requires_grad_() for t in inputs if t is not None]
    weight = grad.double().requires_grad_()
    score = getattr(softdp.reference, f"{recurrence}_score")(*leaves, **options)
    gradients = torch.autograd.grad((weight * score).sum(), leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=False) if v is not None)
    tangent, *products = torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)
    digits = 1e-10 if inputs[0].dtype == torch.float64 else 1e-4
    close(found.score.double(), tangent, digits * max(1, tangent.nan_to_num(0).abs().max()))
    for product, wanted, need in zip(found.gradients, products, needs, strict=False):
        assert (product is not None) == need
        if need:
            close(product.double(), wanted, digits * max(1, wanted.nan_to_num(0).abs().max()))
    assert_padding_is_zero(found, size, options)


SECOND = [(1, 1), (5, 8), (32, 32), (17, 16), (33, 1), (1, 33), (33, 128), (127, 64), (129, 2), (260, 20)]


@pytest.mark.parametrize("size", SECOND, ids=str)
def test_fsd_second_order(size):
    for dtype, gaps in (
        (F32, ("dense", "dense")),
        (F32, ("dense", "shared")),
        (torch.float64, ("row", "dense")),
    ):
        inputs = tables_of(2, *size, dtype=dtype, gaps=gaps)
        directions = tuple(None if t is None else scores(2, *size).to(dtype) for t in inputs)
        check_products("fsd", inputs, directions, gamma=0.3)
        check_products("fsd", inputs, directions, gamma=0.5, boundary="anchored")


@pytest.mark.parametrize("size", SECOND, ids=str)
def test_lcs_second_order(size):
    for dtype in (F32, torch.float64):
        inputs = (scores(2, *size, dtype=dtype),)
        check_products("lcs", inputs, (scores(2, *size, dtype=dtype),), gamma=0.3, threshold=0.4)
    check_products("lcs", inputs, (scores(2, *size, dtype=dtype),), gamma=0.0, threshold=0.4)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_second_order_of_some_directions_and_some_products(size):
    N, M = size
    inputs = tables_of(3, *size)
    strided = scores(3, 2 * M, 3 * N, dtype=F32).transpose(1, 2)[:, ::3, ::2]
    for directions, needs in (
        ((strided, None, None), (False, True, True)),
        ((None, scores(3, N, 1, dtype=F32), None), (True, False, True)),
        ((None, None, scores(1, 1, M, dtype=F32)), (True, True, False)),
    ):
        check_products("fsd", inputs, directions, needs=needs, gamma=0.3)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_second_order_of_ragged_masked_and_spoiled_pairs(size):
    N, M = size
    x, y = torch.tensor([N, 0, N // 2, 1, N, N]), torch.tensor([M - 1, 3, M, M // 2, M, M])
    match, insert, delete = tables_of(6, N, M)
    match[0].masked_fill_(torch.rand(N, M) < 0.2, -math.inf)
    match[0, N - 1, M - 2] = 0
    match[2, N // 2 - 1, M - 1] = -math.inf
    match[4, N // 2, M // 2] = math.nan
    directions = tuple(scores(6, N, M, dtype=F32) for _ in range(3))
    for ragged in ({"x_lengths": x, "y_lengths": y}, {"x_lengths": x.int()}):
        check_products("fsd", (match, insert, delete), directions, gamma=0.3, **ragged)
        check_products("lcs", (match,), directions[:1], gamma=0.3, threshold=0.2, **ragged)
    unfit = {"x_lengths": torch.tensor([N, N + 1, -1, N, 2**40, N])}
    for recurrence, inputs in (("fsd", (match, insert, delete)), ("lcs", (match,))):
        found = run(recurrence, inputs, directions=directions, gamma=0.3, threshold=0.2, **unfit)
        assert all((product[[1, 2]] == 0).all() for product in found.gradients)


@pytest.mark.parametrize("size", REGIMES, ids=str)
@pytest.mark.parametrize("kind", ["fsd", "lcs"])
def test_second_order_of_a_spoiled_pair_of_which_nothing_is_asked(kind, size):
    """0 where the direction is 0 within its lengths; NaN where one number of it is not, wherever it lies."""
    N, M = size
    match, insert, _ = tables_of(6, N, M)
    match[:, N // 2, M // 2] = math.nan
    count = 1 if kind == "lcs" else 2
    lengths = {"x_lengths": torch.tensor([N - 1] * 6), "y_lengths": torch.tensor([M - 1] * 6)}
    for dtype in (F32, torch.float64):
        inputs = [match.to(dtype), insert.to(dtype)][:count]
        for which in range(count):
            directions = [torch.zeros(6, N, M, dtype=dtype) for _ in range(count)]
            directions[which][:, N - 1 :], directions[which][:, :, M - 1 :] = 1, math.nan  # the padding
            directions[which][1, 0, 0] = 1e-30
            directions[which][2, N - 2, M - 2] = -1
            directions[which][3, N // 2, 0] = math.nan
            directions[which][4] = -directions[which][4] * 0.0
            if which == 1:
                directions[0] = None
            options = {"gamma": 0.3, "threshold": 0.2, "needs": (True,) * count, **lengths}
            tables = inputs if kind == "lcs" else (*inputs, None)
            found = run(kind, tables, SCHEDULES[1:2], directions=directions, **options)
            asked = torch.tensor([False, True, True, True, False, False])
            assert found.score[asked].isnan().all() and (found.score[~asked] == 0).all()
            for product in found.gradients:
                assert product[asked, : N - 1, : M - 1].isnan().all() and (product[~asked] == 0).all()


@pytest.mark.parametrize("kind", ["fsd", "lcs"])
def test_schedules_change_nothing_of_the_second_order(kind):
    inputs = tables_of(2, 600, 70, gaps=("dense", "shared"))
    schedules = [
        (order, blocks, 5, shared)
        for order, shared in (("forward", 99), ("reverse", 227), ("random", 64))
        for blocks in (1, ALL_BLOCKS)
    ]
    directions = tuple(scores(2, 600, 70, dtype=F32) for _ in range(2))
    count = 1 if kind == "lcs" else 2
    run(kind, inputs[:1] if kind == "lcs" else inputs, schedules, directions=directions[:count], gamma=0.3,
        threshold=0.2)  # fmt: skip


@pytest.mark.parametrize("size", [*REGIMES, (1, 40), (40, 1)], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.2])
def test_visits(size, gamma):
    for dtype in (F32, torch.float64):
        similarity = scores(3, *size, dtype=dtype)
        options = {"gamma": gamma, "threshold": 0.5, "x_lengths": torch.tensor([size[0], size[0] // 2, 0])}
        found = run("lcs", (similarity,), visits=True, **options)
        expected = softdp.reference.lcs_visits(similarity.double(), **options)
        close(found.gradients[0].double(), expected, TOLERANCE[dtype])
        assert_padding_is_zero(found, similarity.shape, options)


# ---- at random ---------------------------------------------------------------------------------------


@st.composite
def problems(draw):
    B, dtype = draw(st.integers(0, 3)), draw(st.sampled_from([F32, F32, torch.float64, *harness.HALF]))
    N = draw(st.integers(0, 36) | st.sampled_from([64, 65, 128, 129, 161]))
    M = draw(st.integers(0, 36) | st.sampled_from([63, 64, 65, 80]))

    def gap():
        return draw(tables(tuple(draw(st.sampled_from([1, full])) for full in (B, N, M)), dtype))

    return {
        "inputs": (draw(tables((B, N, M), dtype)), gap(), gap() if draw(st.booleans()) else None),
        "gamma": draw(st.sampled_from([0.0, 0.01, 0.1, 1.0, 50.0])),
        "boundary": draw(st.sampled_from(["free", "anchored"])),
        "threshold": draw(st.sampled_from([-2.0, 0.0, 0.5, 2.0])),
        "lengths": {"x_lengths": draw(lengths(B, N)), "y_lengths": draw(lengths(B, M))},
        "schedule": (draw(st.sampled_from(["forward", "reverse", "random"])), draw(st.integers(1, 9)),
                     draw(st.integers(0, 99)), draw(st.sampled_from([64, 99, 227]))),
    }  # fmt: skip


@given(problems())
@settings(max_examples=150)
def test_at_random(p):
    options = {"gamma": p["gamma"], **p["lengths"]}
    schedules = [SCHEDULES[0], p["schedule"]]
    check("fsd", p["inputs"], schedules=schedules, slack=20, boundary=p["boundary"], **options)
    check("lcs", p["inputs"][:1], schedules=schedules, slack=20, threshold=p["threshold"], **options)
