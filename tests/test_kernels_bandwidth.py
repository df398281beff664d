"""The CUDA kernels' sources, run on the CPU: pairs with a bandwidth.

The reference sweeps all cells, and those outside are forbidden by their scores. The kernels find NaN there.
"""

import math
from fractions import Fraction

import harness
import pytest
import torch
from helpers import close, scores
from kernel_checks import ALL_BLOCKS, F32, SCHEDULES, one_thread, outputs, run, tables_of  # noqa: F401
from test_kernels_ends import reference as reference_of_ends
from test_kernels_needleman_wunsch import reference as reference_of_charged

GAMMA = 0.1
TOLERANCE = {torch.float64: 1e-9, F32: 2e-4, torch.float16: 2e-3, torch.bfloat16: 2e-2}
ROOMY = [(*SCHEDULES[2][:3], 99)]  # for the second order of float64


def is_inside(n, m, bandwidth):
    """The cells of a pair, (n, m): docs and SPEC say |i - j s| <= w, rows and columns from 0."""
    rows, columns = torch.arange(n)[:, None], torch.arange(m)
    if min(n, m) <= 1:
        return torch.ones(n, m, dtype=torch.bool)
    if n < m:
        return is_inside(m, n, bandwidth).T
    slope = Fraction(n - 1, m - 1)
    w = bandwidth if n == m else max(bandwidth, math.ceil(slope / 2))
    return (rows * (m - 1) - columns * (n - 1)).abs() <= w * (m - 1)


def insides(size, bandwidth, lengths):
    """Of all pairs, (B, N, M)."""
    B, N, M = size
    found = torch.zeros(size, dtype=torch.bool)
    n, m = (
        [full] * B if lengths.get(name) is None else lengths[name].tolist()
        for name, full in (("x_lengths", N), ("y_lengths", M))
    )
    for b in range(B):
        if 0 < n[b] <= N and 0 < m[b] <= M:
            found[b, : n[b], : m[b]] = is_inside(n[b], m[b], bandwidth)
    return found


def reference(kind, tables, inside, *, gamma, boundary=None, threshold=0.0, costs=False, **lengths):
    """The scores, (B,)."""
    never = math.inf if costs else -math.inf
    if kind == "lcs":
        # A hit is Needleman-Wunsch's match, a plateau its two gaps of 0.
        hit = tables[0] >= threshold
        parts = [
            torch.where(hit, tables[0], never),
            *[torch.zeros_like(tables[0]).masked_fill(hit, never)] * 2,
        ]
        kind, boundary = "needleman_wunsch", "free"
    else:
        parts = [*tables, tables[-1]][:3]
    parts = [torch.where(inside, t.expand(inside.shape), never) for t in parts]
    if kind == "needleman_wunsch" and boundary is None:
        return reference_of_charged(*parts, gamma=gamma, **lengths)
    boundary = boundary or "free"
    return reference_of_ends(kind, *parts, gamma=gamma, boundary=boundary, costs=costs, **lengths)


def spoiled_outside(inputs, inside):
    """NaN where no kernel is to look: outside, and past the lengths."""
    dense = [t is not None and t.shape == inside.shape for t in inputs]
    return [t.masked_fill(~inside, math.nan) if d else t for t, d in zip(inputs, dense, strict=True)]


def differentiated(kind, inputs, inside, grad, **options):
    leaves = [t.detach().double().clone().requires_grad_() for t in inputs if t is not None]
    score = reference(kind, leaves, inside, **options)
    weighted = score * grad.double()
    total = weighted[score.isfinite()].sum() + 0 * sum(t.sum() for t in leaves)
    return score.detach(), torch.autograd.grad(total, leaves)


def check(kind, inputs, bandwidth, schedules=SCHEDULES[:1], slack=1.0, **options):
    size, dtype = inputs[0].shape, inputs[0].dtype
    lengths = {name: options[name] for name in ("x_lengths", "y_lengths") if name in options}
    inside = insides(size, bandwidth, lengths)
    grad = torch.linspace(0.5, -2, size[0]).to(F32 if dtype in harness.HALF else dtype)
    if kind == "lcs":
        options["threshold"] = 0.25  # exact in every type
    given = spoiled_outside(inputs, inside)
    found = run(kind, given, schedules, grad=grad, bandwidth=bandwidth, **options)
    score, gradients = differentiated(kind, inputs, inside, grad, **options)
    tolerance = slack * TOLERANCE[dtype]
    close(found.score.double(), score, max(1, options["gamma"]) * (1e-10 if tolerance < 1e-6 else 2e-6))
    for gradient, wanted in zip([g for g in found.gradients if g is not None], gradients, strict=True):
        wanted_size = gradient.double()
        close(
            wanted_size.sum(0, keepdim=True) if wanted.shape[0] < size[0] else wanted_size, wanted, tolerance
        )
        if gradient.shape == size:
            assert (gradient[~inside] == 0).all()
    return found


SIZES = [(1, 1), (1, 9), (9, 1), (2, 40), (31, 33), (32, 32), (33, 31), (20, 400), (63, 65), (64, 130),
         (129, 127), (300, 15), (150, 260)]  # fmt: skip
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
BOUNDARIES = [("fsd", "free"), ("fsd", "anchored"), ("fsd", "subsequence"), ("fsd", "overlap"),
              ("needleman_wunsch", "overlap"), ("needleman_wunsch", None), ("lcs", None)]  # fmt: skip
every_boundary = pytest.mark.parametrize("kind, boundary", BOUNDARIES, ids=lambda x: str(x))


def of(kind, tables):
    return tables[:1] if kind == "lcs" else tables


@every_size
def test_values_and_gradients_within_a_bandwidth(size):
    for bandwidth in (0, 20):
        check("fsd", tables_of(2, *size), bandwidth, gamma=GAMMA, boundary="anchored")
        check("lcs", (scores(2, *size, dtype=F32),), bandwidth, gamma=GAMMA)
    check("needleman_wunsch", tables_of(2, *size), 2, gamma=GAMMA)
    check("fsd", tables_of(2, *size), 3, gamma=0.0)


@every_boundary
def test_boundaries(kind, boundary):
    """Few and many cells on the boundary and among the ends; bands of two strips and of four."""
    for size, bandwidth in (((35, 50), 3), ((70, 66), 40), ((200, 140), 9)):
        for gamma in (GAMMA, 0.0):
            tables = of(kind, tables_of(2, *size))
            schedules = SCHEDULES if size[0] == 200 and gamma else SCHEDULES[:1]
            check(kind, tables, bandwidth, schedules, slack=2, gamma=gamma, boundary=boundary)


GAPS = [("row", "row"), ("column", "column"), ("column", "shared"), ("number", "shared"), ("row", "dense"),
        ("dense", "pair"), ("table", "columns")]  # fmt: skip


@pytest.mark.parametrize("gaps", GAPS, ids="-".join)
def test_gaps_of_every_kind(gaps):
    for size, bandwidth in (((40, 44), 4), ((140, 75), 6)):
        check("fsd", tables_of(2, *size, gaps=gaps), bandwidth, gamma=GAMMA, slack=10)
    check("needleman_wunsch", tables_of(2, 75, 140, gaps=gaps), 8, gamma=0.0, slack=10)


@pytest.mark.parametrize("dtype", [*harness.HALF, torch.float64], ids=str)
def test_other_types_within_a_bandwidth(dtype):
    for size in ((36, 40), (141, 70)):
        for gamma in (GAMMA, 0.0):
            check("fsd", tables_of(2, *size, dtype=dtype), 5, gamma=gamma, boundary="overlap", slack=5)
            check("lcs", (scores(2, *size).to(dtype),), 5, gamma=gamma, slack=5)


def test_costs():
    tables = tables_of(2, 70, 90, gaps=("number", "shared"))
    check("fsd", tables, 7, gamma=GAMMA, boundary="subsequence", costs=True)
    check("fsd", tables_of(2, 140, 90), 7, gamma=0.0, boundary="anchored", costs=True)


X = torch.tensor([150, 0, 1, 75, 0, 3, 150, 2, 149])
Y = torch.tensor([139, 3, 140, 0, 0, 1, 7, 140, 138], dtype=torch.int32)


@every_boundary
def test_ragged_lengths_within_a_bandwidth(kind, boundary):
    tables = of(kind, tables_of(9, 150, 140))
    found = check(kind, tables, 6, slack=5, gamma=GAMMA, boundary=boundary, x_lengths=X, y_lengths=Y)
    pitch = [harness.module().saved_pitch(n, m, 6) for n, m in zip(X.tolist(), Y.tolist(), strict=True)]
    for b in (0, 6, 7, 8):
        assert (found.saved[b, :, int(X[b]) * pitch[b] :] == 0).all()
    unfit = {
        "x_lengths": torch.tensor([150, 151, -1] + [150] * 6),
        "y_lengths": torch.tensor([2**40] + [140] * 8),
    }
    found = run(kind, tables, gamma=GAMMA, boundary=boundary, bandwidth=6, threshold=0.25, **unfit)
    assert found.score.isnan().tolist() == [True] * 3 + [False] * 6
    assert all((g[:3] == 0).all() for g in found.gradients)


@every_boundary
def test_a_bandwidth_of_all_cells_changes_no_bit(kind, boundary):
    for size in ((36, 50), (150, 70)):
        for gamma, dtype in ((GAMMA, F32), (0.0, F32), (GAMMA, torch.float64)):
            tables = of(kind, tables_of(2, *size, dtype=dtype))
            options = {"gamma": gamma, "boundary": boundary, "threshold": 0.25}
            wide, all_cells = (
                run(kind, tables, SCHEDULES[:1], bandwidth=w, **options) for w in (10**9, None)
            )
            for a, b in zip(outputs(wide), outputs(all_cells), strict=True):
                assert torch.equal(a, b)


@every_boundary
def test_schedules_change_nothing(kind, boundary):
    schedules = [("forward", 1, 5, 99), ("reverse", ALL_BLOCKS, 5, 227), ("random", 1, 5, 64)]
    run(kind, of(kind, tables_of(2, 300, 280)), schedules, gamma=GAMMA, boundary=boundary, bandwidth=30)


@pytest.mark.parametrize("gamma", [GAMMA, 0.0])
@every_boundary
def test_what_is_not_finite_spoils_its_own_pair_inside_only(kind, boundary, gamma):
    for N, M in ((11, 13), (150, 140)):
        inside = insides((1, N, M), 5, {})[0]
        tables = of(kind, tables_of(8, N, M))
        places = [(0, 0), (N - 1, M - 1), (0, 4), (4, 0), (N - 1, M - 5), (N - 4, M - 1)]
        for table in tables:
            table[:, ~inside] = math.nan
        for b, (row, column) in enumerate(places):
            assert inside[row, column]
            tables[b % len(tables)][b, row, column] = math.nan if b % 2 else math.inf
        grad = torch.tensor([1, 1, 0, 1, 1, 1, 1, 1.0])
        found = run(
            kind,
            tables,
            SCHEDULES[:1],
            gamma=gamma,
            boundary=boundary,
            bandwidth=5,
            threshold=0.25,
            grad=grad,
        )
        assert found.score.isnan().tolist() == [True] * 6 + [False] * 2
        for gradient in found.gradients:
            assert gradient[[0, 1, 3, 4, 5]][:, inside].isnan().all() and gradient[6:].isfinite().all()
            assert (gradient[:, ~inside] == 0).all() and (gradient[2] == 0).all()


@every_boundary
def test_no_path_and_scores_below_the_range(kind, boundary):
    """-1e30 counts as -inf in float32. Where it leaves no path the pair is NaN, unless it lies outside."""
    for N, M in ((20, 20 if kind == "lcs" else 30), (150, 150 if kind == "lcs" else 140)):
        inside = insides((1, N, M), 4, {})[0]
        tables = of(kind, tables_of(3, N, M))
        for table in tables:
            table[:, ~inside] = -1e30
            table[:2] = table[:2].clamp(max=-2).masked_fill(inside, -math.inf)
        tables[0][1, N // 2, M // 2] = -1e30
        threshold = -math.inf  # every cell of an LCS is a hit
        found = run(
            kind, tables, SCHEDULES[:1], gamma=1e-3, boundary=boundary, bandwidth=4, threshold=threshold
        )
        assert found.score[0] == -math.inf and found.score[1].isnan() and found.score[2].isfinite()
        for gradient in found.gradients:
            assert (gradient[0] == 0).all() and gradient[1][inside].isnan().all()
            assert (gradient[:, ~inside] == 0).all() and gradient[2].isfinite().all()


def check_products(kind, inputs, directions, bandwidth, **options):
    """The Hessian's products, and the score's derivative along the directions, against the reference's."""
    size, dtype = inputs[0].shape, inputs[0].dtype
    lengths = {name: options[name] for name in ("x_lengths", "y_lengths") if name in options}
    inside = insides(size, bandwidth, lengths)
    grad = torch.linspace(0.5, 2, size[0], dtype=dtype)
    options["threshold"] = 0.25
    given = spoiled_outside(inputs, inside), spoiled_outside(directions, inside)
    found = run(kind, given[0], ROOMY, directions=given[1], grad=grad, bandwidth=bandwidth, **options)
    leaves = [t.double().expand(size).clone().requires_grad_() for t in inputs if t is not None]
    weight = grad.double().requires_grad_()
    score = reference(kind, leaves, inside, **options)
    total = (weight * score)[score.isfinite()].sum() + 0 * sum(t.sum() for t in leaves)
    gradients = torch.autograd.grad(total, leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=False) if v is not None)
    tangent, *products = torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)
    digits = 1e-10 if dtype == torch.float64 else 1e-4
    close(found.score.double(), tangent, digits * max(1, tangent.abs().max()))
    for product, wanted in zip([p for p in found.gradients if p is not None], products, strict=True):
        close(product.double(), wanted, digits * max(1, wanted.abs().max()))
        assert (product[~inside] == 0).all()


@every_boundary
def test_second_order(kind, boundary):
    for size, bandwidth, dtype, gaps in (
        ((36, 34), 3, torch.float64, ("row", "dense")),
        ((70, 90), 12, F32, ("dense", "shared")),
        ((131, 65), 4, F32, ("dense", "dense")),
    ):
        inputs = of(kind, tables_of(2, *size, dtype=dtype, gaps=gaps))
        directions = of(kind, [None if t is None else scores(2, *size).to(dtype) for t in inputs])
        check_products(kind, inputs, directions, bandwidth, gamma=0.3, boundary=boundary)
    lengths = {"x_lengths": torch.tensor([131, 40, 0, 1]), "y_lengths": torch.tensor([64, 65, 5, 9])}
    inputs, directions = (of(kind, tables_of(4, 131, 65)) for _ in range(2))
    check_products(kind, inputs, directions, 4, gamma=0.3, boundary=boundary, **lengths)


@pytest.mark.parametrize("kind", ["fsd", "lcs"])
def test_of_a_spoiled_pair_a_direction_outside_asks_for_nothing(kind):
    inside = insides((1, 70, 60), 5, {})[0]
    tables = of(kind, tables_of(3, 70, 60))
    tables[0][:, 30, 25] = math.nan
    directions = [torch.zeros(3, 70, 60) for _ in tables]
    directions[-1][0] = torch.ones(70, 60).masked_fill(inside, 0)
    directions[-1][1, 69, 59] = 1
    found = run(kind, tables, ROOMY, directions=directions, gamma=0.3, threshold=0.2, bandwidth=5)
    assert found.score[[0, 2]].tolist() == [0, 0] and found.score[1].isnan()
    for product in found.gradients:
        assert (
            (product[[0, 2]] == 0).all()
            and product[1][inside].isnan().all()
            and (product[1][~inside] == 0).all()
        )


def test_visits():
    """The gradient by S itself: 1 in all, at the end."""
    tables = (scores(2, 70, 50, dtype=F32),)
    inside = insides((2, 70, 50), 6, {})
    spoiled = spoiled_outside(tables, inside)
    found = run("lcs", spoiled, gamma=GAMMA, threshold=0.25, visits=True, bandwidth=6).gradients[0]
    assert (found[~inside] == 0).all() and (found[:, -1, -1] == 1).all() and (found >= 0).all()
    hits = run("lcs", spoiled, gamma=GAMMA, threshold=0.25, bandwidth=6).gradients[0]
    hit = inside & (tables[0] >= 0.25)
    assert torch.equal(found[hit], hits[hit])


@every_boundary
def test_paths(kind, boundary):
    for size, bandwidth in (((1, 7), 0), ((33, 33), 0), ((70, 130), 4), ((140, 60), 9)):
        tables = of(kind, tables_of(2, *size))
        inside = insides((2, *size), bandwidth, {})
        found = run(
            kind,
            spoiled_outside(tables, inside),
            gamma=0.0,
            boundary=boundary,
            threshold=0.25,
            bandwidth=bandwidth,
        )
        paths = harness.paths(kind, found, (2, *size), boundary=boundary, bandwidth=bandwidth)
        for b, path in enumerate(paths):
            total = 0.0 if path else -math.inf  # an LCS may have no path: hits take the diagonal only
            for row, column, move in path:
                on_boundary = row < 0 or column < 0
                assert on_boundary or inside[b, row, column]
                at = max(row, 0), max(column, 0)
                if kind == "lcs":
                    total += float(tables[0][b, row, column]) if move == 0 else 0.0
                else:
                    total += float(tables[0][b][at]) * (not on_boundary and (kind == "fsd" or move == 0))
                    total += float(tables[move][b][at]) if move else 0.0
            close(torch.tensor(total), found.score[b], 1e-4)


def test_what_is_saved_is_enough_for_all_lengths():
    kernels = harness.module()
    for N, M in ((12, 12), (5, 40), (40, 5), (33, 37)):
        for w in (0, 1, 3, 30):
            most = kernels.saved_cells(N, M, w)
            assert most % 4 == 0 and all(
                n * kernels.saved_pitch(n, m, w) <= most for n in range(1, N + 1) for m in range(1, M + 1)
            )
    for n, m in ((1, 9), (9, 1), (2, 50), (13, 40), (40, 13), (21, 21)):
        for w in (0, 1, 3, 30):
            rows, pitch = kernels.corridor(n, m, w), kernels.saved_pitch(n, m, w)
            assert rows == [(int(r.nonzero()[0]), int(r.nonzero()[-1]) + 1) for r in is_inside(n, m, w)]
            for row, (begin, _) in enumerate(rows):  # four rows' columns, by fours
                assert -(-rows[min(row + 3, n - 1)][1] // 4) * 4 - begin // 4 * 4 <= pitch
    assert kernels.saved_cells(4096, 4096, 40) < 4096 * 4096 // 40
    assert kernels.saved_cells(30, 40, -1) == 30 * 40
    assert kernels.planes("fsd", "float32", 0.1, False, 0, 20, 20) == 3
    assert kernels.planes("fsd", "float32", 0.1, False, 0, 20, 20, "free", 5) == 1


def test_rows_between_bands_keep_what_is_inside():
    """Bands of one strip, the most rows between them."""
    kernels = harness.module()
    for N, M in ((33, 700), (300, 40), (300, 300), (129, 1000), (1000, 2), (65, 1)):
        for w in (0, 1, 7, 2000):
            most = kernels.edge_cells((N - 1) // 32, M, w)
            for n in range(1, N + 1, 4):
                for m in range(1, M + 1, 3):
                    between, pitch = (n - 1) // 32, kernels.edge_pitch(n, m, w)
                    assert not between or (between - 1) * pitch + m <= most
    for n, m in ((9, 1), (13, 40), (40, 13), (21, 21), (33, 600)):
        for w in (0, 1, 3, 30):
            assert all(min(e + 1, m) - b <= kernels.edge_pitch(n, m, w) for b, e in kernels.corridor(n, m, w))
    assert kernels.edge_cells(1023, 2**17, 40) < 1023 * 2**17 // 100
    assert kernels.edge_cells(31, 4096, -1) == 31 * 4096


@every_boundary
@pytest.mark.parametrize("N, M, w", [(400, 400, 2), (400, 90, 0), (200, 600, 3)])
def test_many_bands_of_a_narrow_corridor(kind, boundary, N, M, w):
    """Lengths, too, whose rows between bands are of other sizes than those of the whole table."""
    tables = of(kind, tables_of(3, N, M))
    lengths = {"x_lengths": torch.tensor([N, 131, N]), "y_lengths": torch.tensor([M, M, 7])}
    check(kind, tables, w, gamma=GAMMA, slack=5, boundary=boundary)
    check(kind, tables, w, gamma=GAMMA, slack=5, boundary=boundary, **lengths)
