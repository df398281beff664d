"""Needleman-Wunsch on the CUDA kernels' own sources: gaps that count on the boundary and differ by cell.

The reference is written here, in PyTorch and float64, since softdp.reference has no gap of its own for
delete.
"""

import math

import harness
import oracle
import pytest
import torch
from helpers import close, scores
from kernel_checks import ALL_BLOCKS, SCHEDULES, equal, gap_of, one_thread, pairs, reduced, run, tables_of  # noqa: F401

import softdp

F32 = torch.float32
GAMMA = 0.1
NAME = "needleman_wunsch"
SIZES = [(1, 1), (5, 8), (32, 32), (33, 1), (1, 33), (33, 128), (130, 20), (20, 130), (150, 40)]
KINDS = ["dense", "row", "column", "pair", "number"]
TOLERANCE = {torch.float64: 1e-9, F32: 5e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def reference(match, insert, delete=None, *, gamma, x_lengths=None, y_lengths=None):
    """Scores (B,) of match (B, N, M) and of gaps that broadcast to it, diagonal by diagonal."""
    B, N, M = match.shape
    delete = insert if delete is None else delete
    n = torch.full((B,), N) if x_lengths is None else x_lengths.long()
    m = torch.full((B,), M) if y_lengths is None else y_lengths.long()
    inside = (torch.arange(N) < n[:, None])[:, :, None] & (torch.arange(M) < m[:, None])[:, None]
    cells = [t.expand(B, N, M).masked_fill(~inside, 0) for t in (match, insert, delete)]
    empty = n * m == 0
    if empty.all():
        return torch.stack([without_cells(insert, delete, b, int(n[b]), int(m[b])) for b in range(B)])
    zero = match.new_zeros(B, 1)
    left = torch.cat([zero, cells[1][:, :, 0].cumsum(1)], 1)
    above = torch.cat([zero, cells[2][:, 0].cumsum(1)], 1)
    low, table = [], []  # of a diagonal i + j = d: the first i, and S
    for d in range(N + M + 1):
        first, last = max(1, d - M), min(N, d - 1)
        parts = [above[:, d : d + 1]] if d <= M else []
        if first <= last:
            i = torch.arange(first, last + 1)
            here = [t[:, i - 1, d - i - 1] for t in cells]
            at = {k: table[-k][:, first - 1 - low[-k] : last - low[-k]] for k in (1, 2)}
            from_left = table[-1][:, first - low[-1] : last + 1 - low[-1]]
            moves = torch.stack([here[0] + at[2], here[1] + at[1], here[2] + from_left])
            parts.append(softdp.reference.smooth_max(moves, gamma))
        if 0 < d <= N:
            parts.append(left[:, d : d + 1])
        low.append(max(0, d - M))
        table.append(torch.cat(parts, 1))
    return torch.stack(
        [
            without_cells(insert, delete, b, int(n[b]), int(m[b]))
            if empty[b]
            else table[n[b] + m[b]][b, n[b] - low[n[b] + m[b]]]
            for b in range(B)
        ]
    )


def without_cells(insert, delete, b, n, m):
    """The sum of the one gap that is left; -inf where it differs along the sequence that has no step."""
    gap, along, steps = (delete, 1, m) if n == 0 else (insert, 2, n)
    if n == 0 and m == 0:
        return gap.new_zeros(())
    if gap.shape[along] != 1:
        return gap.new_full((), -math.inf)
    line = gap[b % len(gap)].flatten()
    return line[:steps].sum() if len(line) > 1 else line[0] * steps


def exactly(inputs, **options):
    """Scores, and the gradients of the sum of those that have a path, None for None."""
    leaves = [None if t is None else t.detach().double().clone().requires_grad_() for t in inputs]
    score = reference(*leaves, **options)
    wanted = [t for t in leaves if t is not None]
    total = score[score > -math.inf].sum() + torch.zeros((), requires_grad=True)
    gradients = iter(torch.autograd.grad(total, wanted, materialize_grads=True))
    return score.detach(), [None if t is None else next(gradients) for t in leaves]


def check(inputs, slack=1.0, schedules=SCHEDULES, **options):
    """Score and gradients of the kernels against the reference's in float64."""
    found = run(NAME, inputs, schedules, **options)
    score, gradients = exactly(inputs, **options)
    tolerance = slack * TOLERANCE[inputs[0].dtype]
    close(found.score.double(), score, max(1, options["gamma"]) * (1e-10 if tolerance < 1e-6 else 2e-6))
    for gradient, wanted, like in zip(found.gradients, gradients, inputs, strict=True):
        assert (gradient is None) == (wanted is None)
        if wanted is not None:
            close(reduced(gradient, like), wanted, tolerance)
    return found


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_at_every_tile_edge(size):
    check(tables_of(2, *size), gamma=GAMMA)
    check((*tables_of(2, *size)[:2], None), gamma=GAMMA)
    check(tables_of(1, *size, dtype=torch.float64), gamma=0.0)


MIXED = [("row", "column"), ("column", "number"), ("dense", "pair")]


@pytest.mark.parametrize("gaps", [(k, d) for k in KINDS for d in (k, "shared")] + MIXED, ids="-".join)
def test_gaps_of_every_kind(gaps):
    for size in ((11, 13), (140, 35)):
        for gamma in (GAMMA, 0.0):
            check(tables_of(3, *size, gaps=gaps), gamma=gamma, slack=10)  # sums over many cells


@pytest.mark.parametrize("dtype", harness.HALF + (torch.float64,), ids=str)
def test_types(dtype):
    for gaps in (("dense", "dense"), ("row", "shared"), ("number", "number"), ("column", "row")):
        for size in ((20, 30), (140, 35)):
            check(tables_of(2, *size, dtype=dtype, gaps=gaps), gamma=GAMMA, slack=5)


def test_numbers_beside_half_scores_are_not_rounded():
    match = scores(2, 40, 36).to(torch.float16)
    for gap in (torch.full((1, 1, 1), -0.1234567), scores(2, 40, 1, dtype=F32)):
        for gamma in (GAMMA, 0.0):
            check((match, gap, None), gamma=gamma, slack=5)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 3), (1, 9)], ids=str)
def test_against_all_paths(size, gamma):
    match = scores(1, *size)
    found = run(NAME, (match, torch.full((1, 1, 1), -0.3, dtype=torch.float64), None), gamma=gamma)
    score, by_match, by_gap = oracle.needleman_wunsch(match[0].numpy(), -0.3, gamma)
    assert found.score.item() == pytest.approx(score, rel=1e-12, abs=1e-12)
    close(found.gradients[0][0], torch.from_numpy(by_match), 1e-10)
    assert found.gradients[1].item() == pytest.approx(by_gap, rel=1e-10)


@pytest.mark.parametrize("size", [(11, 13), (70, 50), (150, 40)], ids=str)
def test_ragged_lengths_and_pairs_without_cells(size):
    N, M = size
    x = torch.tensor([N, 0, 1, N // 2, 0, 3, 0, N])
    y = torch.tensor([M - 1, 3, M, 0, 0, 1, M, 0], dtype=torch.int32)
    several = (
        ("row", "column"),
        ("column", "row"),
        ("pair", "number"),
        ("row", "shared"),
        ("column", "shared"),
    )
    for gaps in (("dense", "dense"), ("number", "shared"), *several):
        match, insert, delete = tables_of(8, N, M, gaps=gaps)
        match[torch.arange(N) >= x[:, None]] = math.nan  # is never read
        found = check((match, insert, delete), gamma=GAMMA, slack=5, x_lengths=x, y_lengths=y)
        assert found.score[4] == 0
        check((match, insert, delete), gamma=0.0, slack=5, x_lengths=x, y_lengths=y)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0), (0, 200), (200, 0)], ids=str)
def test_tables_without_cells(size):
    for gaps in (
        ("dense", "dense"),
        ("row", "column"),
        ("column", "row"),
        ("number", "shared"),
        ("pair", "row"),
    ):
        check(tables_of(2, *size, gaps=gaps), gamma=GAMMA)


def test_pairs_without_cells_of_gaps_that_are_not_finite():
    """A gap for each step of x and one for all steps of y: nothing is handed on without a path, NaN of a
    spoiled pair, and nothing where the score receives 0. Along directions it is the same."""
    N, M = 70, 5
    match, insert, delete = torch.zeros(6, N, M), torch.full((6, N, 1), -0.5), torch.full((6, 1, 1), -0.25)
    lengths = {"x_lengths": torch.full((6,), N), "y_lengths": torch.tensor([0, 0, 0, 0, 0, 1])}
    insert[0, 66], insert[1, 66], insert[2, 66], insert[3, 66] = -math.inf, math.nan, math.inf, math.nan
    grad = torch.tensor([2.0, 2.0, 2.0, 0.0, 2.0, 0.0])
    found = run(NAME, (match, insert, delete), gamma=GAMMA, grad=grad, **lengths)
    assert found.score[:5].nan_to_num(7).tolist() == [torch.finfo(F32).min, 7, 7, 7, -35]
    by_insert, by_delete = found.gradients[1:]
    assert by_insert.sum((1, 2)).nan_to_num(7).tolist() == [0, 7, 7, 0, 140, 0]
    assert (by_insert[4] == 2).all() and (by_delete == 0).all()
    delete[0], delete[1], delete[2] = -math.inf, math.nan, math.inf
    lengths = {"x_lengths": torch.zeros(6, dtype=torch.int64), "y_lengths": torch.full((6,), M)}
    by_delete = run(NAME, (match, insert, delete), gamma=GAMMA, grad=grad, **lengths).gradients[2]
    assert by_delete.flatten().nan_to_num(7).tolist() == [0, 7, 7, 0, 10, 0]
    directions = torch.zeros(6, N, M), torch.ones(6, N, 1), torch.tensor([1.0, 1, 0, 1, 1, 1]).view(6, 1, 1)
    along = run(NAME, (match, insert, delete), gamma=GAMMA, grad=grad, directions=directions, **lengths)
    assert along.score.nan_to_num(7).tolist() == [0, 7, 0, 5, 5, 5]


def test_lengths_out_of_range_score_nan_and_touch_nothing():
    for gaps in (("dense", "dense"), ("number", "shared"), ("row", "column")):
        unfit = {"x_lengths": torch.tensor([70, 71, -1, 0]), "y_lengths": torch.tensor([40, 40, 0, -2])}
        found = run(NAME, tables_of(4, 70, 40, gaps=gaps), gamma=GAMMA, **unfit)
        assert found.score.isnan().tolist() == [False, True, True, True]
        assert all((g[1:] == 0).all() for g in found.gradients if g is not None)


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(20, 20), (140, 36)], ids=str)
def test_masks(size, gamma):
    """-inf in the cells, on the boundary, and where nothing is left."""
    N, M = size
    match, insert, delete = tables_of(4, N, M)
    match[0, torch.rand(N, M) < 0.3] = -math.inf
    insert[1, N // 2 :, 0] = delete[1, 0, 3:] = -math.inf  # no boundary from there on
    match[2, :, M - 1] = insert[2, :, M - 1] = delete[2, :, M - 1] = -math.inf
    found = check((match, insert, delete), gamma=gamma)
    assert found.score[2] == -math.inf and all((g[2] == 0).all() for g in found.gradients)
    never = torch.full((1, 1, 1), -math.inf)
    found = run(NAME, (match[3:], never, None), gamma=gamma)
    assert found.score.item() == (pytest.approx(match[3].diagonal().sum().item(), rel=1e-5)
                                  if N == M else -math.inf)  # fmt: skip


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
@pytest.mark.parametrize("size", [(11, 13), (140, 36)], ids=str)
def test_nan_and_inf_make_their_own_pair_nan(size, gamma):
    N, M = size
    grad = torch.tensor([1.0, 1, 1, 1, 0, 1, 1])
    for gaps in (("dense", "dense"), ("row", "column"), ("pair", "pair")):
        inputs = tables_of(7, N, M, gaps=gaps)
        inputs[0][0, N - 1, 0] = math.nan
        inputs[1][1].view(-1)[-1] = math.inf
        inputs[2][2].view(-1)[0] = math.nan
        inputs[1][3].view(-1)[0] = math.inf
        inputs[0][4, 0, 0] = math.nan
        found = run(NAME, inputs, gamma=gamma, grad=grad)
        assert found.score.isnan().tolist() == [True] * 5 + [False] * 2
        for gradient in found.gradients:
            assert gradient[:4].isnan().all() and (gradient[4] == 0).all() and gradient[5:].isfinite().all()


def test_gradients_of_the_score_scale():
    grad = torch.tensor([1.0, -2.5, 0.0])
    for gaps in (("dense", "dense"), ("row", "column"), ("number", "shared")):
        inputs = tables_of(3, 140, 36, gaps=gaps)
        ones, found = run(NAME, inputs, gamma=GAMMA), run(NAME, inputs, gamma=GAMMA, grad=grad)
        for gradient, plain in zip(found.gradients, ones.gradients, strict=True):
            if gradient is not None:
                close(gradient, plain * grad[:, None, None], 1e-5)


def test_only_what_is_needed_of_all_three():
    gaps = "row", "column"
    inputs = tables_of(2, 140, 36, gaps=gaps)
    full = run(NAME, inputs, gamma=GAMMA)
    assert torch.equal(run(NAME, inputs, gamma=GAMMA, save=False).score, full.score)
    for needs in ((True, False, False), (False, True, False), (False, False, True)):
        some = run(NAME, inputs, gamma=GAMMA, needs=needs)
        for need, gradient, whole in zip(needs, some.gradients, full.gradients, strict=True):
            assert equal(gradient, whole, gaps) if need else gradient is None


@pytest.mark.parametrize("gamma", [1e-3, 1.0])
def test_boundaries_beyond_the_range_of_one_score(gamma):
    """Sums of gaps of 2e6 gamma, of which one score more would leave float32's range."""
    match = scores(1, 150, 140, dtype=F32)
    gap = torch.full((1, 1, 1), -2e6 * gamma)
    found = run(NAME, (match, gap, None), gamma=gamma)
    score, gradients = exactly((match, gap, None), gamma=gamma)
    close(found.score.double(), score, 1e-6)
    close(found.gradients[1].double(), gradients[1], 1e-4)


def check_products(inputs, directions, needs=(True,) * 3, **options):
    dtype, size = inputs[0].dtype, inputs[0].shape
    schedules = SCHEDULES if dtype == F32 else [*SCHEDULES[:2], (*SCHEDULES[2][:3], 99)]
    grad = torch.linspace(0.5, 2, size[0], dtype=dtype)
    found = run(NAME, inputs, schedules, directions=directions, grad=grad, needs=needs, **options)
    leaves = [t.double().requires_grad_() for t in inputs if t is not None]
    weight = grad.double().requires_grad_()
    score = reference(*leaves, **options)
    gradients = torch.autograd.grad((weight * score).sum(), leaves, create_graph=True)
    directions = [v for v in directions if v is not None]
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))
    wanted_tangent = torch.autograd.grad(along, weight, retain_graph=True)[0]
    products = torch.autograd.grad(along, leaves, materialize_grads=True)
    digits = 1e-9 if dtype == torch.float64 else 1e-4
    close(found.score.double(), wanted_tangent, digits * max(1, wanted_tangent.abs().max()))
    for product, wanted, need in zip(found.gradients, products, needs, strict=False):
        assert (product is not None) == need
        if need:
            over = [d for d in range(3) if wanted.shape[d] != size[d]]
            summed = product.double().sum(over, keepdim=True) if over else product.double()
            close(summed, wanted, digits * max(1, wanted.abs().max()))
    return found


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (32, 33), (33, 1), (1, 33), (130, 20), (140, 36)], ids=str)
def test_second_order(size):
    for dtype in (F32, torch.float64):
        for gaps in (("dense", "dense"), ("dense", "shared"), ("row", "column"), ("number", "shared")):
            inputs = tables_of(2, *size, dtype=dtype, gaps=gaps)
            directions = tuple(None if t is None else scores(*t.shape).to(dtype) for t in inputs)
            check_products(inputs, directions, gamma=0.3)


def test_second_order_of_ragged_pairs():
    x, y = torch.tensor([140, 0, 3, 70, 0]), torch.tensor([30, 7, 0, 36, 0])
    for gaps in (("dense", "dense"), ("row", "column"), ("column", "row"), ("number", "shared")):
        inputs = tables_of(5, 140, 36, gaps=gaps)
        directions = tuple(None if t is None else scores(*t.shape, dtype=F32) for t in inputs)
        check_products(inputs, directions, gamma=0.3, x_lengths=x, y_lengths=y)


def test_second_order_of_some_products_and_of_spoiled_pairs():
    inputs = tables_of(3, 140, 36)
    directions = tuple(scores(3, 140, 36, dtype=F32) for _ in range(3))
    full = check_products(inputs, directions, gamma=0.3)
    some = check_products(inputs, directions, needs=(False, True, False), gamma=0.3)
    assert torch.equal(some.gradients[1], full.gradients[1])
    inputs[0][1, 70, 3] = math.nan
    directions[0][2:] = directions[1][2:] = directions[2][2:] = 0
    found = run(NAME, inputs, directions=directions, gamma=0.3)
    assert found.score.isnan().tolist() == [False, True, False]
    assert all(product[1].isnan().all() and (product[2] == 0).all() for product in found.gradients)


def test_schedules_change_nothing_of_a_boundary():
    inputs = tables_of(2, 600, 70, gaps=("dense", "shared"))
    schedules = [
        (order, blocks, 5, shared)
        for order, shared in (("forward", 99), ("reverse", 227), ("random", 64))
        for blocks in (1, ALL_BLOCKS)
    ]
    run(NAME, inputs, schedules, gamma=GAMMA)
