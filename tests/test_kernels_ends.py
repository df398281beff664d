"""The CUDA kernels' sources, run on the CPU: paths that may begin or end in several cells.

The reference is written here, in PyTorch and float64: all cells, diagonal by diagonal, then the ends.
"""

import math

import harness
import pytest
import torch
from helpers import close, scores
from kernel_checks import (  # noqa: F401
    ALL_BLOCKS,
    F32,
    REGIMES,
    SCHEDULES,
    assert_padding_is_zero,
    one_thread,
    pairs,
    reduced,
    run,
    tables_of,
)

import softdp

GAMMA = 0.1
SIZES = [(1, 1), (1, 9), (9, 1), (5, 7), (33, 20), (70, 50), (150, 140)]
SEVERAL = ["subsequence", "overlap"]
KINDS = ["fsd", "needleman_wunsch"]
TOLERANCE = {torch.float64: 1e-9, F32: 5e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
# For the second order of float64 a strip takes 85 KiB; the least that a GPU has is 99.
ROOMY = [(*SCHEDULES[2][:3], 99)]

every_kind = pytest.mark.parametrize("kind", KINDS)
several_ends = pytest.mark.parametrize("boundary", SEVERAL)
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_regime = pytest.mark.parametrize("size", REGIMES, ids=str)


def all_states(kind, match, insert, delete, gamma, boundary):
    """S of match (B, N, M) and its gaps as one row a pair, and the place there of S(i, j)."""
    B, N, M = match.shape
    above = 0.0 if boundary != "anchored" else -math.inf
    left = 0.0 if boundary in ("free", "overlap") else -math.inf
    low, table = [], []  # of a diagonal i + j = d: the first i, and S
    for d in range(N + M + 1):
        first, last = max(1, d - M), min(N, d - 1)
        parts = [match.new_full((B, 1), above if d else 0.0)] if d <= M else []
        if first <= last:
            i = torch.arange(first, last + 1)
            x, y, z = (t[:, i - 1, d - i - 1] for t in (match, insert, delete))
            diagonal = table[d - 2][:, first - 1 - low[d - 2] : last - low[d - 2]]
            up = table[d - 1][:, first - 1 - low[d - 1] : last - low[d - 1]]
            beside = table[d - 1][:, first - low[d - 1] : last + 1 - low[d - 1]]
            moves = [diagonal if kind == "fsd" else x + diagonal, y + up, z + beside]
            state = softdp.reference.smooth_max(torch.stack(moves), gamma)
            parts.append(x + state if kind == "fsd" else state)
        if 0 < d <= N:
            parts.append(match.new_full((B, 1), left))
        low.append(max(0, d - M))
        table.append(torch.cat(parts, 1))
    begins = [0]
    for diagonal in table:
        begins.append(begins[-1] + diagonal.shape[1])
    return torch.cat(table, 1), lambda i, j: begins[i + j] + i - low[i + j]


def reference(kind, match, insert, delete=None, *, gamma, boundary, costs=False, **lengths):
    """The scores, (B,)."""
    B, N, M = match.shape
    delete = insert if delete is None else delete
    n = lengths.get("x_lengths", torch.full((B,), N)).tolist()
    m = lengths.get("y_lengths", torch.full((B,), M)).tolist()
    inside = torch.zeros(B, N, M, dtype=torch.bool)
    for b in range(B):
        inside[b, : n[b], : m[b]] = True
    cells = [(-t if costs else t).expand(B, N, M).masked_fill(~inside, 0) for t in (match, insert, delete)]
    states, place = all_states(kind, *cells, gamma, boundary)
    found = []
    for b in range(B):
        if n[b] * m[b] == 0:
            forbidden = boundary == "anchored" and n[b] != m[b] or boundary == "subsequence" and n[b] > 0
            found.append(match.new_full((), -math.inf if forbidden else 0.0))
            continue
        ends = [place(n[b], m[b])]
        if boundary in SEVERAL:
            ends = [place(n[b], j) for j in range(1, m[b] + 1)]
        if boundary == "overlap":
            ends += [place(i, m[b]) for i in range(1, n[b])]
        found.append(softdp.reference.smooth_max(states[b, ends], gamma))
    return -torch.stack(found) if costs else torch.stack(found)


def exactly(kind, inputs, grad=None, **options):
    """Scores, and the gradients of their sum times grad, None for None; of -inf scores no gradient."""
    leaves = [None if t is None else t.detach().double().clone().requires_grad_() for t in inputs]
    score = reference(kind, *leaves, **options)
    weighted = score if grad is None else score * grad.double()
    wanted = [t for t in leaves if t is not None]
    total = weighted[score.isfinite()].sum() + 0 * sum(t.nan_to_num(0, 0, 0).sum() for t in wanted)
    gradients = iter(torch.autograd.grad(total, wanted, materialize_grads=True))
    return score.detach(), [None if t is None else next(gradients) for t in leaves]


def check(kind, inputs, slack=1.0, schedules=SCHEDULES[:1], grad=None, **options):
    """Score and gradients of the kernels against the reference's in float64."""
    found = run(kind, inputs, schedules, grad=grad, **options)
    score, gradients = exactly(kind, inputs, grad, **options)
    tolerance = slack * TOLERANCE[inputs[0].dtype]
    close(found.score.double(), score, max(1, options["gamma"]) * (1e-10 if tolerance < 1e-6 else 2e-6))
    for gradient, wanted, like in zip(found.gradients, gradients, inputs, strict=True):
        assert (gradient is None) == (wanted is None)
        if wanted is not None:
            close(reduced(gradient, like), wanted, tolerance)
    assert_padding_is_zero(found, inputs[0].shape, options)
    return found


@every_size
@every_kind
@several_ends
def test_ends_at_every_tile_edge(boundary, kind, size):
    grad = torch.tensor([0.5, -2.5])
    for gamma, schedules in ((GAMMA, SCHEDULES), (0.0, SCHEDULES[:1])):
        check(kind, tables_of(2, *size), 3, schedules, grad, gamma=gamma, boundary=boundary)
    check(kind, (*tables_of(2, *size)[:2], None), gamma=GAMMA, boundary=boundary)
    check(kind, tables_of(1, *size, dtype=torch.float64), gamma=GAMMA, boundary=boundary)


@every_size
@pytest.mark.parametrize("boundary", ["free", "anchored"])
def test_needleman_wunsch_without_gaps_on_the_boundary(boundary, size):
    for gaps in (("dense", "dense"), ("row", "shared"), ("number", "column")):
        for gamma in (GAMMA, 0.0):
            check(
                "needleman_wunsch", tables_of(2, *size, gaps=gaps), gamma=gamma, boundary=boundary, slack=10
            )
    x, y = torch.tensor([size[0], 0, size[0], 0]), torch.tensor([size[1], size[1], 0, 0])
    inputs = tables_of(4, *size, gaps=("number", "shared"))
    check("needleman_wunsch", inputs, gamma=GAMMA, boundary=boundary, slack=10, x_lengths=x, y_lengths=y)


GAPS = [("row", "row"), ("row", "shared"), ("column", "column"), ("number", "shared"), ("dense", "row"),
        ("column", "number"), ("table", "pair")]  # fmt: skip


@pytest.mark.parametrize("gaps", GAPS, ids="-".join)
@every_kind
@several_ends
def test_several_ends_and_gaps_of_every_kind(boundary, kind, gaps):
    for size in ((11, 13), (140, 35)):
        for gamma in (GAMMA, 0.0):
            check(kind, tables_of(3, *size, gaps=gaps), gamma=gamma, boundary=boundary, slack=10)


@pytest.mark.parametrize("dtype", [*harness.HALF, torch.float64], ids=str)
@every_kind
@several_ends
def test_several_ends_of_other_types(boundary, kind, dtype):
    for gaps in (("dense", "dense"), ("row", "shared")):
        for size in ((20, 30), (140, 35)):
            inputs = tables_of(2, *size, dtype=dtype, gaps=gaps)
            for gamma in (GAMMA, 0.0):
                check(kind, inputs, gamma=gamma, boundary=boundary, slack=5)


@every_regime
@every_kind
@several_ends
def test_ends_of_ragged_pairs(boundary, kind, size):
    N, M = size
    x = torch.tensor([N, 0, 1, N // 2, 0, 3, N, N - 1])
    y = torch.tensor([M - 1, 3, M, 0, 0, 1, 1, M], dtype=torch.int32)
    for gaps in (("dense", "dense"), ("number", "shared")):
        match, *gap = tables_of(8, N, M, gaps=gaps)
        match[torch.arange(N) >= x[:, None]] = math.nan  # is never read
        for gamma in (GAMMA, 0.0):
            options = {"gamma": gamma, "boundary": boundary, "x_lengths": x, "y_lengths": y}
            found = check(kind, (match, *gap), slack=10, **options)
        for b in range(8):
            n, m = int(x[b]), int(y[b])
            assert found.ends[b].sum() == float(n * m > 0)
            assert (found.ends[b, m:M] == 0).all() and (found.ends[b, M + max(n - 1, 0) :] == 0).all()
    unfit = {
        "x_lengths": torch.tensor([N, N + 1, -1] + [N] * 5),
        "y_lengths": torch.tensor([M + 1] + [M] * 7),
    }
    found = run(kind, tables_of(8, N, M), gamma=GAMMA, boundary=boundary, **unfit)
    assert found.score.isnan().tolist() == [True] * 3 + [False] * 5
    assert all((g[:3] == 0).all() for g in found.gradients) and (found.ends[:3] == 0).all()


@every_regime
@several_ends
def test_ends_of_costs(boundary, size):
    for gaps in (("dense", "dense"), ("row", "shared")):
        for gamma in (GAMMA, 0.0):
            check("fsd", tables_of(2, *size, gaps=gaps), gamma=gamma, boundary=boundary, costs=True, slack=10)
    inputs = tables_of(2, *size)
    inputs[0][0] = math.inf
    found = check("fsd", inputs, gamma=GAMMA, boundary=boundary, costs=True)
    assert found.score[0] == math.inf
    empty = {"x_lengths": torch.tensor([0, size[0]]), "y_lengths": torch.tensor([size[1], 0])}
    check("fsd", tables_of(2, *size), gamma=GAMMA, boundary=boundary, costs=True, **empty)


def forbid(tables, *where):
    for table in tables:
        table[where] = -math.inf


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@every_regime
@every_kind
@several_ends
def test_forbidden_ends(boundary, kind, size, gamma):
    """-inf here and there, in the corner, in the last row, in the last column, in both, everywhere."""
    N, M = size
    tables = tables_of(7, N, M)
    forbid(tables, 0, torch.rand(N, M) < 0.05)
    forbid(tables, 1, N - 1, M - 1)
    forbid(tables, 2, N - 1)
    forbid(tables, 3, slice(None), M - 1)
    forbid(tables, 4, N - 1), forbid(tables, 4, slice(None), M - 1)
    forbid(tables, 5)
    found = check(kind, tables, gamma=gamma, boundary=boundary)
    dead = [2, 4, 5] if boundary == "subsequence" else [4, 5]
    assert (found.score == -math.inf).nonzero().flatten().tolist() == dead
    assert (found.ends[dead] == 0).all() and found.ends[1, M - 1] == 0
    assert all((g[dead] == 0).all() for g in found.gradients)


@every_regime
@every_kind
@several_ends
def test_a_score_below_the_range_spoils_a_pair_without_a_path(boundary, kind, size):
    """In float32 -1e30 counts as -inf. Where it leaves no path the pair is NaN, and else it is forbidden."""
    N, M = size
    tables = tables_of(4, N, M)
    forbid(tables, slice(0, 2))
    tables[1][0, N // 2, M // 2] = tables[0][1, N - 1, M - 1] = -1e30
    for table in tables:
        table[2, N - 1, M - 1] = -1e30
    found = run(kind, tables, gamma=1e-3, boundary=boundary)
    assert found.score.isnan().tolist() == [True, True, False, False]
    assert all(g[:2].isnan().all() and g[2:].isfinite().all() for g in found.gradients)
    forbid(tables, 2, N - 1, M - 1)
    score, gradients = exactly(kind, tables, gamma=1e-3, boundary=boundary)
    close(found.score[2:].double(), score[2:], 1e-5)
    close(found.gradients[0][2:].double(), gradients[0][2:], 5e-4)
    found = (
        run(kind, [-t for t in tables], gamma=1e-3, boundary=boundary, costs=True) if kind == "fsd" else found
    )
    assert found.score.isnan().tolist() == [True, True, False, False]


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@every_regime
@every_kind
@several_ends
def test_nan_and_inf_spoil_all_ends_of_their_pair(boundary, kind, size, gamma):
    N, M = size
    grad = torch.tensor([1.0, 1, 1, 0, 1, 1, 1])
    for gaps in (("dense", "dense"), ("row", "row")):
        inputs = tables_of(7, N, M, gaps=gaps)
        inputs[0][0, N - 1, 0] = math.nan
        inputs[1][1].view(-1)[-1] = math.inf
        inputs[2][2].view(-1)[0] = math.nan
        inputs[0][3, 0, 0] = math.nan
        inputs[0][4, 0, M - 1] = math.inf
        found = run(kind, inputs, gamma=gamma, boundary=boundary, grad=grad)
        assert found.score.isnan().tolist() == [True] * 5 + [False] * 2
        assert (found.ends[:5] == 0).all()
        for gradient in found.gradients:
            assert gradient[[0, 1, 2, 4]].isnan().all() and (gradient[3] == 0).all()
            assert gradient[5:].isfinite().all()


@several_ends
def test_only_what_is_needed_of_several_ends(boundary):
    for kind in KINDS:
        inputs = tables_of(2, 140, 36)
        full = run(kind, inputs, gamma=GAMMA, boundary=boundary)
        assert torch.equal(run(kind, inputs, gamma=GAMMA, boundary=boundary, save=False).score, full.score)
        for needs in ((True, False, False), (False, True, False), (False, False, True)):
            some = run(kind, inputs, gamma=GAMMA, boundary=boundary, needs=needs)
            for need, gradient, whole in zip(needs, some.gradients, full.gradients, strict=True):
                assert torch.equal(gradient, whole) if need else gradient is None


@pytest.mark.parametrize("size", [*REGIMES, (150, 140)], ids=str)
def test_of_equal_ends_the_first_has_all_weight(size):
    """The last row before the last column, from their beginnings on."""
    N, M = size
    match, gap = torch.zeros(4, N, M), torch.full((1, 1, 1), -1.0)
    match[0, N - 1, 0] = match[0, 0, M - 1] = match[0, N - 1, M // 2] = 1
    match[1, 0, M - 1] = match[1, N - 2, M - 1] = 1
    match[2, N - 1, M - 1] = match[2, N - 2, M - 1] = 1
    for dtype in (F32, torch.float64):
        inputs = match.to(dtype), gap.to(dtype), None
        found = check("fsd", inputs, gamma=0.0, boundary="overlap", slack=10)
        ends = torch.zeros(4, M + N, dtype=dtype)
        ends[0, 0] = ends[1, M] = ends[2, M - 1] = ends[3, 0] = 1
        assert found.score.tolist() == [1, 1, 1, 0] and torch.equal(found.ends, ends)


@several_ends
def test_ends_far_apart(boundary):
    """Ends whose exponents differ by more than a float's, and by more than 32 bits."""
    for scale, gamma in ((1.0, 1e-3), (1e3, 1e-3), (4e5, 0.2), (300.0, 100.0)):
        inputs = [scale * t for t in tables_of(2, 140, 300)]
        found = run("fsd", inputs, gamma=gamma, boundary=boundary)
        score, gradients = exactly("fsd", inputs, gamma=gamma, boundary=boundary)
        close(found.score.double() / scale, score / scale, 2e-6)
        close(found.gradients[0].double(), gradients[0], 5e-4)


@pytest.mark.parametrize("kind", KINDS)
@several_ends
def test_schedules_change_nothing_at_the_ends(boundary, kind):
    schedules = [
        (order, blocks, 5, shared)
        for order, blocks, shared in (("forward", 1, 99), ("reverse", ALL_BLOCKS, 227), ("random", 1, 64))
    ]
    inputs = tables_of(2, 300, 50, gaps=("dense", "shared"))
    run(kind, inputs, schedules, gamma=GAMMA, boundary=boundary)
    directions = tuple(scores(2, 300, 50, dtype=F32) for _ in range(2))
    run(kind, inputs, schedules, gamma=GAMMA, boundary=boundary, directions=directions)


def check_products(kind, inputs, directions, needs=(True,) * 3, **options):
    """The Hessian's products, and the score's derivative along the directions, against the reference's."""
    dtype, size = inputs[0].dtype, inputs[0].shape
    grad = torch.linspace(0.5, 2, size[0], dtype=dtype)
    found = run(kind, inputs, ROOMY, directions=directions, grad=grad, needs=needs, **options)
    leaves = [t.double().expand(size).clone().requires_grad_() for t in inputs if t is not None]
    weight = grad.double().requires_grad_()
    score = reference(kind, *leaves, **options)
    total = (weight * score)[score.isfinite()].sum() + 0 * sum(t.nan_to_num(0, 0, 0).sum() for t in leaves)
    gradients = torch.autograd.grad(total, leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=False) if v is not None)
    tangent, *products = torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)
    digits = 1e-10 if dtype == torch.float64 else 1e-4
    close(found.score.double(), tangent, digits * max(1, tangent.abs().max()))
    for product, wanted, need in zip(found.gradients, products, needs, strict=False):
        assert (product is not None) == need
        if need:
            close(product.double(), wanted, digits * max(1, wanted.abs().max()))
    assert_padding_is_zero(found, size, options)
    return found


@every_size
@every_kind
@several_ends
def test_second_order_of_several_ends(boundary, kind, size):
    for dtype, gaps in (
        (F32, ("dense", "dense")),
        (F32, ("dense", "shared")),
        (torch.float64, ("row", "dense")),
    ):
        inputs = tables_of(2, *size, dtype=dtype, gaps=gaps)
        directions = tuple(None if t is None else scores(2, *size).to(dtype) for t in inputs)
        check_products(kind, inputs, directions, gamma=0.3, boundary=boundary)
    if kind == "fsd":
        check_products(kind, inputs, directions, gamma=0.5, boundary=boundary, costs=True)
    found = check_products(kind, inputs, directions, gamma=0.0, boundary=boundary)
    assert all((product == 0).all() for product in found.gradients) and (found.ends == 0).all()


@every_regime
@pytest.mark.parametrize("boundary", ["free", "anchored"])
def test_second_order_of_needleman_wunsch_without_gaps_on_the_boundary(boundary, size):
    inputs = tables_of(2, *size)
    directions = tuple(scores(2, *size, dtype=F32) for _ in range(3))
    check_products("needleman_wunsch", inputs, directions, gamma=0.3, boundary=boundary)


@every_regime
@every_kind
@several_ends
def test_second_order_of_ragged_masked_and_spoiled_ends(boundary, kind, size):
    N, M = size
    x, y = torch.tensor([N, 0, N // 2, 1, N, N - 1]), torch.tensor([M - 1, 3, M, M // 2, M, 0])
    tables = tables_of(6, N, M)
    forbid(tables, 0, torch.rand(N, M) < 0.1)
    forbid(tables, 2, N // 2 - 1, M - 1)
    directions = tuple(scores(6, N, M, dtype=F32) for _ in range(3))
    options = {"gamma": 0.3, "boundary": boundary}
    for ragged in ({"x_lengths": x, "y_lengths": y}, {"x_lengths": x.int()}):
        for needs in ((True,) * 3, (False, True, False)):
            check_products(kind, tables, directions, needs, **options, **ragged)
    tables[0][1, 0, 0] = math.nan
    forbid(tables, 4)
    found = run(kind, tables, ROOMY, directions=directions, **options)
    assert found.score.isnan().tolist() == [False, True] + [False] * 4 and found.score[4] == 0
    for product in found.gradients:
        assert product[1].isnan().all() and (product[4] == 0).all() and product[[0, 2, 3, 5]].isfinite().all()
