"""The CUDA operators against the CPU's in float64, and as citizens of CUDA: streams, graphs, no waiting.

Where there is no GPU, shim.py runs all but the latter on the CPU, against the reference in float64.

Sizes lie around the edges of what a kernel takes at once: a tile of 32 rows, a block of 128.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings

import pytest
import shim
import torch
from helpers import close, score_and_gradients, scores

import softdp

STEPS = ("forward", "backward", "double_backward")
OPERATORS = tuple(f"{recurrence}_{step}" for recurrence in ("fsd", "lcs") for step in STEPS)
DEVICE = torch.device("cpu" if shim.ACTIVE else "cuda")
needs_shim = pytest.mark.skipif(not shim.ACTIVE, reason="needs the shim: set SOFTDP_SHIM=1")
needs_gpu = pytest.mark.skipif(shim.ACTIVE, reason="needs a GPU: the shim has no streams, graphs or memory")

EDGES = (1, 2, 5, 30, 31, 32, 33, 64, 127, 128, 129, 257)
OBLONG = ((1, 257), (257, 1), (2, 33), (33, 2), (5, 129), (30, 31), (31, 64), (64, 30), (129, 32), (128, 257))
SIZES = [(n, n) for n in EDGES] + list(OBLONG)
REGIMES = [(5, 7), (32, 30), (100, 129), (300, 280)]  # a warp, a block, several bands

# Of a score and of a gradient, absolute below 1; float32 rounds at each of some hundred steps.
TOLERANCE = {torch.float64: (1e-9, 1e-9), torch.float32: (5e-6, 1e-4)}

SCORES = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_score(match, gap, gamma=0.2, **lengths),
    "anchored": lambda match, gap, **lengths: softdp.fsd_score(match, gap, boundary="anchored", **lengths),
    "lcs": lambda match, gap, **lengths: softdp.lcs_score(match + gap, threshold=0.4, gamma=0.2, **lengths),
}
each = pytest.mark.parametrize("name", SCORES)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
both_boundaries = pytest.mark.parametrize("boundary", ["free", "anchored"])
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
every_regime = pytest.mark.parametrize("size", REGIMES, ids=lambda size: f"{size[0]}x{size[1]}")


pytestmark = pytest.mark.cuda  # conftest.py skips them where there is no CUDA


def values(*size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Multiples of 1/1024 in [-1, 1]: float32 adds them without rounding, so that a hard maximum meets the
    same ties and LCS the same hits in either dtype."""
    return torch.randint(-1024, 1025, size).to(dtype) / 1024


def gpu_values(*size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return values(*size, dtype=dtype).to(DEVICE)


def on_gpu(value):
    return value.to(DEVICE) if torch.is_tensor(value) else value


def on_cpu(value):
    return value.cpu() if torch.is_tensor(value) else value


def exact_score_and_gradients(score, tables, **options):
    """On the CPU in float64, from the same numbers: by the CPU's operators or, under the shim, by the
    reference as far as that is quick."""
    options = {name: on_cpu(value) for name, value in options.items()}
    quick = shim.ACTIVE and tables[0].numel() < 30000
    with shim.reference() if quick else contextlib.nullcontext():
        return score_and_gradients(
            score, [None if t is None else t.cpu().double() for t in tables], **options
        )


def agrees(score, tables, **options):
    """The GPU's score and gradients, held against the CPU's in float64 from the same numbers."""
    tables = [on_gpu(t) for t in tables]
    found = score_and_gradients(score, tables, **options)
    exact = exact_score_and_gradients(score, tables, **options)
    half = tables[0].dtype in (torch.float16, torch.bfloat16)
    arithmetic = torch.float32 if half else tables[0].dtype
    tolerance, gradient_tolerance = TOLERANCE[arithmetic]
    assert found[0].dtype == arithmetic and found[0].device.type == DEVICE.type
    close(found[0].cpu(), exact[0], tolerance)
    for table, gradient, wanted in zip(tables, found[1], exact[1], strict=True):
        if table is None:
            continue
        assert gradient.dtype == table.dtype and gradient.shape == table.shape
        assert gradient.device == table.device
        rounding = torch.finfo(table.dtype).eps if half else 0
        close(gradient.cpu(), wanted, gradient_tolerance + rounding)
    return found


def same(found, expected) -> bool:
    """Bitwise, NaN included: a score and its gradients."""
    pairs = zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True)
    return all(torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7)) for a, b in pairs)


# ---- values and gradients ------------------------------------------------------------------------


@every_size
@both_dtypes
@both_boundaries
def test_fsd(size, dtype, boundary):
    match, insert, delete = (values(3, *size, dtype=dtype) for _ in range(3))
    for gamma in (0.1, 1.0, 0.0):
        agrees(softdp.fsd_score, (match, insert, delete), gamma=gamma, boundary=boundary)
    agrees(softdp.fsd_score, (match, insert, None), boundary=boundary)


@every_size
@both_dtypes
@pytest.mark.parametrize("threshold", [-2.0, 0.4, 2.0])
def test_lcs(size, dtype, threshold):
    similarity = values(3, *size, dtype=dtype)
    for gamma in (0.1, 1.0, 0.0):
        agrees(softdp.lcs_score, (similarity,), threshold=threshold, gamma=gamma)


def gap(kind: str, B: int, N: int, M: int, dtype: torch.dtype):
    shape = {
        "number": (),
        "pair": (B, 1, 1),
        "row": (B, N, 1),
        "shared row": (1, N, 1),
        "column": (B, 1, M),
        "shared column": (M,),
        "dense": (B, N, M),
        "table": (N, M),
        "shared": (1, N, M),
    }
    return None if kind == "none" else values(*shape[kind], dtype=dtype)


GAPS = ["number", "pair", "row", "shared row", "column", "shared column", "dense", "table", "shared"]


@both_boundaries
@pytest.mark.parametrize("delete", ["none", *GAPS])
@pytest.mark.parametrize("insert", GAPS)
def test_gap_kinds(insert, delete, boundary):
    for size in ((3, 5, 7), (2, 33, 40), (2, 130, 129)):
        for dtype in (torch.float32, torch.float64):
            gaps = (gap(kind, *size, dtype) for kind in (insert, delete))
            agrees(softdp.fsd_score, (values(*size, dtype=dtype), *gaps), boundary=boundary)


def test_numbers_as_gaps():
    match = values(2, 33, 40, dtype=torch.float32)
    for gaps in ((-0.3,), (-0.3, 0.2), (-math.inf,), (-math.inf, 0.2)):
        agrees(lambda match, gaps=gaps: softdp.fsd_score(match, *gaps, boundary="anchored"), (match,))


@needs_gpu
def test_a_gap_is_read_in_place():
    """A gap of one number per pair costs no table: a million cells a pair would be 8 MB."""
    match = gpu_values(2, 1024, 1024)
    pair = gpu_values(2, 1, 1)
    softdp.fsd_score(match, pair)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    softdp.fsd_score(match, pair)
    assert torch.cuda.max_memory_allocated() - before < 2**21


@pytest.mark.parametrize("gamma", [1e-4, 1e-2, 10.0, 1e3])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_gammas_and_scales(gamma, scale):
    tables = [scale * scores(2, 40, 30, dtype=torch.float32) for _ in range(3)]
    value, gradients = score_and_gradients(softdp.fsd_score, [on_gpu(t) for t in tables], gamma=gamma)
    exact, wanted = exact_score_and_gradients(softdp.fsd_score, tables, gamma=gamma)
    close(value.cpu(), exact, 1e-5)
    for a, b in zip(gradients, wanted, strict=True):
        close(a.cpu(), b, 1e-3)


# ---- lengths -------------------------------------------------------------------------------------


def ragged(N: int, M: int, dtype: torch.dtype = torch.int64):
    """Lengths of 8 pairs: full, empty, 1, around a tile's edge, at random."""
    n = [N, 0, N, 1, min(32, N), min(33, N), N // 2, N - 1]
    m = [M, M, 0, 1, min(33, M), min(32, M), M - 1, M // 2]
    return torch.tensor(n, dtype=dtype), torch.tensor(m, dtype=dtype)


@every_regime
@each
@pytest.mark.parametrize("integer", [torch.int32, torch.int64])
@pytest.mark.parametrize("where", ["cpu", "gpu", "one of each", "x only"])
def test_ragged_lengths(name, size, integer, where):
    n, m = ragged(*size, dtype=integer)
    n = n if where == "cpu" else n.to(DEVICE)
    m = m.to(DEVICE) if where == "gpu" else m
    lengths = {"x_lengths": n} if where == "x only" else {"x_lengths": n, "y_lengths": m}
    for dtype in (torch.float32, torch.float64):
        tables = values(8, *size, dtype=dtype), values(8, size[0], 1, dtype=dtype)
        agrees(SCORES[name], tables, **lengths)


@every_regime
@each
@pytest.mark.parametrize("filling", [math.nan, math.inf, 1e30])
def test_padding_is_never_read_and_gets_no_gradient(name, size, filling):
    N, M = size
    n, m = ragged(N, M)
    outside = (torch.arange(N) >= n[:, None])[:, :, None] | (torch.arange(M) >= m[:, None])[:, None]
    match = values(8, N, M, dtype=torch.float32)
    gaps = values(8, N, M, dtype=torch.float32)
    lengths = {"x_lengths": on_gpu(n), "y_lengths": on_gpu(m)}
    clean = agrees(SCORES[name], (match, gaps), **lengths)
    dirty = (on_gpu(t.masked_fill(outside, filling)) for t in (match, gaps))
    found = score_and_gradients(SCORES[name], list(dirty), **lengths)
    assert same(found, clean)
    assert all((g[on_gpu(outside)] == 0).all() for g in found[1])


def test_strided_lengths():
    lengths = torch.tensor([[5, 3], [2, 7], [0, 4]], device=DEVICE)
    match = values(3, 5, 7, dtype=torch.float32)
    agrees(SCORES["fsd"], (match, torch.zeros(())), x_lengths=lengths[:, 0], y_lengths=lengths[:, 1])


@every_regime
@each
@pytest.mark.parametrize("bad", ["negative", "one too long", "2^40", "-2^40"])
def test_lengths_out_of_range_on_the_gpu_spoil_their_own_pair_only(name, size, bad):
    N, M = size
    for k, longest in ((0, N), (1, M)):
        wrong = {"negative": -1, "one too long": longest + 1, "2^40": 2**40, "-2^40": -(2**40)}[bad]
        lengths = [torch.full((3,), full, device=DEVICE) for full in size]
        lengths[k][1] = wrong
        match, gaps = (gpu_values(3, N, M) for _ in range(2))
        options = dict(zip(("x_lengths", "y_lengths"), lengths, strict=True))
        value, gradients = score_and_gradients(SCORES[name], (match, gaps), **options)
        lengths[k][1] = longest
        full_value, full_gradients = score_and_gradients(SCORES[name], (match, gaps), **options)
        assert value[1].isnan() and torch.equal(value[[0, 2]], full_value[[0, 2]])
        for gradient, full_gradient in zip(gradients, full_gradients, strict=True):
            assert (gradient[1] == 0).all()
            assert torch.equal(gradient[[0, 2]], full_gradient[[0, 2]])


# ---- masks, NaN, nothing -------------------------------------------------------------------------


@every_regime
@both_dtypes
@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_masks(size, dtype, gamma):
    N, M = size
    i, j = torch.arange(N)[:, None], torch.arange(M)
    band = (i / N - j / M).abs() > 0.4
    holes = torch.rand(2, N, M) < 0.3
    for mask in (band, holes):
        match = values(2, N, M, dtype=dtype).masked_fill(mask, -math.inf)
        gaps = values(2, N, M, dtype=dtype).masked_fill(torch.rand(2, N, M) < 0.1, -math.inf)
        for boundary in ("free", "anchored"):
            _, gradients = agrees(softdp.fsd_score, (match, gaps), gamma=gamma, boundary=boundary)
            assert (gradients[0][on_gpu(mask.expand(2, N, M))] == 0).all()
        agrees(softdp.lcs_score, (match,), threshold=0.4, gamma=gamma)


@every_regime
@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_a_pair_without_a_path_scores_minus_infinity_with_no_gradient(size, gamma):
    match = values(3, *size, dtype=torch.float32)
    match[0, :, size[1] // 2] = -math.inf
    match[2, -1, -1] = -math.inf
    gaps = values(3, *size, dtype=torch.float32)
    value, gradients = agrees(softdp.fsd_score, (match, gaps), gamma=gamma, boundary="anchored")
    assert value[0] == value[2] == -math.inf and value[1].isfinite()
    assert all((g[[0, 2]] == 0).all() for g in gradients) and gradients[0][1, -1, -1] == 1


@every_regime
@both_dtypes
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_nan_and_inf_spoil_their_own_pair_only(size, dtype, bad, gamma):
    N, M = size
    for which, (i, j) in itertools.product(range(3), ((0, 0), (N - 1, 0), (N // 2, M // 2), (N - 1, M - 1))):
        tables = [values(3, N, M, dtype=dtype) for _ in range(3)]
        tables[which][1, i, j] = bad
        tables = [on_gpu(t) for t in tables]
        _spoils_the_middle_pair(score_and_gradients(softdp.fsd_score, tables, gamma=gamma))
        for threshold in (-2.0, 2.0):
            lcs = {"threshold": threshold, "gamma": gamma}
            _spoils_the_middle_pair(score_and_gradients(softdp.lcs_score, [tables[which]], **lcs))


def _spoils_the_middle_pair(found):
    value, gradients = found
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    for gradient in gradients:
        assert gradient[1].isnan().all() and gradient[[0, 2]].isfinite().all()


@every_regime
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_a_spoiled_pair_that_receives_the_gradient_0_gets_it(size, dtype, gamma):
    """s[good].sum() trains on the good pairs, and what all pairs share with them."""
    N, M = size
    bad, good = [1, 3], [0, 2]
    lengths = {
        "x_lengths": torch.tensor([N, N, N - 1, N + 1], device=DEVICE)
    }  # the last pair's is out of range
    for shape in ((1, 1, 1), (1, N, 1), (4, 1, M), (4, N, M)):
        tables = [values(4, N, M).to(dtype), values(*shape).to(dtype)]
        tables[0][1, N // 2, M // 2] = math.nan
        leaves = [on_gpu(t).requires_grad_() for t in tables]
        for score in (
            lambda m, g: softdp.fsd_score(m, g, gamma=gamma, **lengths),
            lambda m, g: softdp.fsd_score(m, g, 2 * g, gamma=gamma, boundary="anchored", **lengths),
            lambda m, g: softdp.lcs_score(m + g, threshold=-9.0, gamma=gamma, **lengths),
            lambda m, g: softdp.soft_dtw(m + g, gamma=gamma, **lengths),
            lambda m, g: softdp.needleman_wunsch(
                m, -g.expand(4, *g.shape[1:])[:, :1, :1].abs(), gamma=gamma, **lengths
            ),
        ):
            value = score(*leaves)
            assert value[bad].isnan().all() and value[good].isfinite().all()
            by_match, by_gap = torch.autograd.grad(value[good].sum(), leaves, retain_graph=True)
            assert (by_match[bad] == 0).all() and by_match.isfinite().all() and by_gap.isfinite().all()
            assert (by_match[good] != 0).any()
            by_match, _ = torch.autograd.grad(value.sum(), leaves)
            assert by_match[1].isnan().any() and (by_match[3] == 0).all() and by_match[good].isfinite().all()


@every_regime
def test_a_spoiled_pair_of_which_no_second_derivative_is_asked_gets_0(size):
    if shim.ACTIVE and size == REGIMES[-1]:
        size = 140, 40
    good = [0, 2]
    match, gap = values(3, *size), values(1, 1, 1)
    match[1, size[0] // 2, size[1] // 2] = math.nan
    match, gap = (on_gpu(t).requires_grad_() for t in (match, gap))
    for score in (
        lambda m, g: softdp.fsd_score(m, g, gamma=0.3),
        lambda m, g: softdp.lcs_score(m + g, threshold=0.4, gamma=0.3),
    ):
        (gradient,) = torch.autograd.grad(score(match, gap)[good].sum(), match, create_graph=True)
        by_match, by_gap = torch.autograd.grad(gradient.square().sum(), (match, gap))
        assert (by_match[1] == 0).all() and by_match.isfinite().all() and by_gap.isfinite().all()
    for align in (
        lambda m, g: softdp.fsd_alignment(m, g, gamma=0.3),
        lambda m, g: softdp.lcs_alignment(m + g, threshold=0.4, gamma=0.3),
    ):
        E = align(match, gap)
        weight = gpu_values(*E.shape, dtype=E.dtype)
        by_match, by_gap = torch.autograd.grad((weight * E)[good].sum(), (match, gap), retain_graph=True)
        assert (by_match[1] == 0).all() and by_match.isfinite().all() and by_gap.isfinite().all()
        (by_match,) = torch.autograd.grad((weight * E).sum(), match)
        assert by_match[1].isnan().all() and by_match[good].isfinite().all()


def test_a_spoiled_gap_that_pairs_share():
    """The pair's gradient is NaN, and so is the sum over pairs; the other pairs' own are not."""
    match = values(3, 40, 50, dtype=torch.float32)
    match[1, 3, 4] = math.nan
    value, (mass, row) = score_and_gradients(
        softdp.fsd_score, (on_gpu(match), torch.zeros(1, 40, 1, device=DEVICE))
    )
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    assert mass[1].isnan().all() and mass[[0, 2]].isfinite().all() and row.isnan().all()


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_empty_pairs_and_batches(gamma):
    for N, M, blocked in ((0, 3, -math.inf), (3, 0, -math.inf), (0, 0, 0.0), (0, 300, -math.inf)):
        size = 2, N, M
        match = torch.zeros(size, device=DEVICE, requires_grad=True)
        for boundary, expected in (("free", 0.0), ("anchored", blocked)):
            score = softdp.fsd_score(match, 0.0, gamma=gamma, boundary=boundary)
            assert score.tolist() == [expected] * 2
            assert torch.autograd.grad(score.sum(), match)[0].shape == size
        assert softdp.lcs_score(match, threshold=0.5, gamma=gamma).tolist() == [0, 0]
    for N, M in ((3, 4), (0, 0), (300, 300)):
        match = torch.zeros(0, N, M, device=DEVICE, requires_grad=True)
        for score in (softdp.fsd_score(match, 0.0), softdp.lcs_score(match, threshold=0.5)):
            assert score.shape == (0,)
            assert torch.autograd.grad(score.sum(), match)[0].shape == (0, N, M)


def test_hard_maximum_breaks_ties_in_the_order_match_insert_delete():
    zeros = [torch.zeros(1, 40, 40, device=DEVICE) for _ in range(3)]
    _, gradients = score_and_gradients(softdp.fsd_score, zeros, gamma=0.0)
    assert torch.equal(gradients[0][0], torch.eye(40, device=DEVICE))
    assert not gradients[1].any() and not gradients[2].any()
    tables = [torch.full((1, 1, 1), value, device=DEVICE) for value in (0.0, 1.0, 1.0)]
    _, gradients = score_and_gradients(softdp.fsd_score, tables, gamma=0.0)
    assert [g.item() for g in gradients] == [1, 1, 0]
    c = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], device=DEVICE)  # the plateau at (2,2) takes R(1,2)
    _, (gradient,) = score_and_gradients(softdp.lcs_score, (c,), threshold=0.5, gamma=0.0)
    assert gradient[0].tolist() == [[0, 1], [0, 0]]


# ---- dtypes and strides --------------------------------------------------------------------------


@every_regime
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_types_compute_in_float32(size, half):
    tables = [values(3, *size).to(half) for _ in range(3)]
    n, m = (torch.tensor([full, full // 2, 1], device=DEVICE) for full in size)
    for boundary in ("free", "anchored"):
        agrees(softdp.fsd_score, tables, boundary=boundary)
        ragged = {"boundary": boundary, "x_lengths": n, "y_lengths": m}
        agrees(softdp.fsd_score, (tables[0], tables[1][:, :, :1]), **ragged)
    agrees(softdp.lcs_score, tables[:1], threshold=0.3)
    agrees(lambda match: softdp.fsd_score(match, -0.1), tables[:1])  # a number is not rounded to the half


LAYOUTS = {
    "transposed": lambda base: base.transpose(1, 2),
    "pairs last": lambda base: base.permute(2, 0, 1),
    "every second": lambda base: base[:, ::2, ::2],
    "a window off alignment": lambda base: base[:, 1:, 1:],
    "expanded": lambda base: base[:1, :, :1].expand(3, -1, 45),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides_are_accepted_and_inputs_unchanged(layout, dtype):
    view = LAYOUTS[layout]
    bases = [values(40, 42, 44).to(dtype) for _ in range(3)]
    before = [b.clone() for b in bases]
    agrees(lambda *bases: softdp.fsd_score(*map(view, bases)), bases)
    agrees(lambda base: softdp.lcs_score(view(base), threshold=0.3), bases[:1])
    inputs = [view(on_gpu(b)) for b in bases]
    softdp.fsd_score(*inputs)
    assert all(torch.equal(view(old), now.cpu()) for old, now in zip(before, inputs, strict=True))


def test_a_score_gradient_of_any_strides():
    match = gpu_values(3, 33, 40).requires_grad_()
    score = softdp.fsd_score(match, 0.0)
    one = torch.ones((), device=DEVICE)
    (expected,) = torch.autograd.grad(score, match, torch.ones(3, device=DEVICE), retain_graph=True)
    for ones in (one.expand(3), torch.ones(6, device=DEVICE)[::2]):
        assert torch.equal(torch.autograd.grad(score, match, ones, retain_graph=True)[0], expected)
    weights = torch.tensor([2.0, 0.0, -3.0], device=DEVICE)
    (weighted,) = torch.autograd.grad(score, match, weights)
    close(weighted, expected * weights[:, None, None], 1e-6)


# ---- derivatives ---------------------------------------------------------------------------------


@both_boundaries
@pytest.mark.parametrize("gamma", [0.05, 1.0, 100.0])
def test_fsd_gradcheck(gamma, boundary):
    tables = [scores(2, 4, 5).to(DEVICE).requires_grad_() for _ in range(3)]
    lengths = {"x_lengths": torch.tensor([4, 2], device=DEVICE), "y_lengths": torch.tensor([5, 4])}
    assert torch.autograd.gradcheck(
        lambda *t: softdp.fsd_score(*t, gamma=gamma, boundary=boundary, **lengths), tables
    )


@pytest.mark.parametrize("shape", [(), (1, 1, 1), (2, 1, 1), (1, 4, 1), (2, 4, 1), (1, 1, 5), (5,), (4, 5)])
def test_gradcheck_of_broadcast_gaps(shape):
    match = scores(2, 4, 5).to(DEVICE).requires_grad_()
    insert, delete = (scores(*s).to(DEVICE).requires_grad_() for s in (shape, (1, 1, 5)))
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.3), (match, insert, delete))
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.3), (match, insert))


@pytest.mark.parametrize("gamma", [0.05, 1.0])
def test_lcs_gradcheck(gamma):
    similarity = scores(2, 4, 5)
    similarity += 0.01 * ((similarity - 0.3).abs() < 1e-3)  # differences must not step over the threshold
    assert torch.autograd.gradcheck(
        lambda c: softdp.lcs_score(c, threshold=0.3, gamma=gamma), similarity.to(DEVICE).requires_grad_()
    )


def test_gradcheck_past_a_tile():
    match = scores(1, 34, 33).to(DEVICE).requires_grad_()
    gaps = scores(1, 34, 1).to(DEVICE).requires_grad_()
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.5), (match, gaps))


def products(score, tables, directions, weight):
    """Derivatives of sum(weight * score)'s gradient along the directions: by weight, and by the tables."""
    leaves = [t.detach().requires_grad_() for t in tables]
    weight = weight.detach().requires_grad_()
    gradients = torch.autograd.grad((weight * score(*leaves)).sum(), leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))
    return torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)


def products_agree(score, tables):
    """The GPU's second derivatives, held against the CPU's in float64 from the same numbers."""
    directions = [values(*t.shape, dtype=t.dtype) for t in tables]
    weight = values(tables[0].shape[0], dtype=tables[0].dtype) + 2
    found = products(score, [on_gpu(t) for t in tables], [on_gpu(v) for v in directions], on_gpu(weight))
    quick = shim.ACTIVE and tables[0].numel() < 30000
    with shim.reference() if quick else contextlib.nullcontext():
        exact = products(
            score, [t.double() for t in tables], [v.double() for v in directions], weight.double()
        )
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == tables[0].dtype and a.device.type == DEVICE.type
        assert torch.equal(a.cpu().isfinite(), b.isfinite())
        largest = b.nan_to_num(0).abs().max().item()
        close(a.cpu(), b, (1e-9 if a.dtype == torch.float64 else 1e-3) * max(largest, 1e-3))
    return found


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (5, 7), (32, 32), (33, 31), (129, 70)])
@both_dtypes
@each
def test_second_derivatives(name, size, dtype):
    for tables in ((values(2, *size, dtype=dtype) for _ in "mg"), values(2, *size, dtype=dtype).split(1)):
        products_agree(SCORES[name], list(tables))


@pytest.mark.parametrize("size", [(300, 280), (600, 40)])
@each
def test_second_derivatives_over_several_bands(name, size):
    tables = [values(2, *size, dtype=torch.float32) for _ in "mg"]
    if shim.ACTIVE:  # the reference takes long there
        tables = [t[:1, : size[0], : size[1] // 3] for t in tables]
    products_agree(SCORES[name], tables)


@both_boundaries
@pytest.mark.parametrize("delete", ["none", "number", "row", "column", "dense"])
@pytest.mark.parametrize("insert", ["number", "pair", "row", "shared column", "table", "dense"])
def test_second_derivatives_of_gap_kinds(insert, delete, boundary):
    for size in ((3, 5, 7), (2, 33, 40)):
        gaps = [gap(kind, *size, torch.float64) for kind in (insert, delete) if kind != "none"]
        products_agree(lambda *t: softdp.fsd_score(*t, gamma=0.3, boundary=boundary), [values(*size), *gaps])


@every_regime
@each
def test_second_derivatives_of_ragged_and_masked_pairs(name, size):
    if shim.ACTIVE and size == REGIMES[-1]:
        size = 140, 40
    N, M = size
    n, m = ragged(N, M)
    match, gaps = values(8, N, M), values(8, N, 1)
    match[0, :, M // 2] = -math.inf
    match[0, N // 2, M // 2] = 0.5  # a gate that all anchored paths take
    match[4, 0, 0] = math.nan

    def score(*t):
        lengths = {"x_lengths": n.to(t[0].device), "y_lengths": m.to(t[0].device)}
        return SCORES[name](*t, **lengths)

    _, by_match, _ = products_agree(score, [match, gaps])
    outside = (torch.arange(N) >= n[:, None])[:, :, None] | (torch.arange(M) >= m[:, None])[:, None]
    assert (by_match[on_gpu(outside)] == 0).all()


@each
def test_gamma_0_has_no_curvature(name):
    score = {
        "fsd": lambda m, g: softdp.fsd_score(m, g, gamma=0.0),
        "anchored": lambda m, g: softdp.fsd_score(m, g, gamma=0.0, boundary="anchored"),
        "lcs": lambda m, g: softdp.lcs_score(m + g, threshold=0.4, gamma=0.0),
    }[name]
    for size in ((5, 7), (40, 33)):
        _, *found = products_agree(score, [values(2, *size) for _ in "mg"])
        assert all((p == 0).all() for p in found)


@both_boundaries
@pytest.mark.parametrize("gaps", [1, 2])
def test_fsd_gradgradcheck(gaps, boundary):
    lengths = {"x_lengths": torch.tensor([4, 2], device=DEVICE), "y_lengths": torch.tensor([5, 4])}
    for shape in ((), (2, 1, 1), (2, 4, 1), (1, 1, 5), (2, 4, 5)):
        tables = [scores(2, 4, 5), *(scores(*shape) for _ in range(gaps))]
        assert torch.autograd.gradgradcheck(
            lambda *t: softdp.fsd_score(*t, gamma=0.4, boundary=boundary, **lengths),
            [t.to(DEVICE).requires_grad_() for t in tables],
        )


def test_lcs_gradgradcheck():
    similarity = scores(2, 4, 5)
    similarity += 0.01 * ((similarity - 0.3).abs() < 1e-3)
    assert torch.autograd.gradgradcheck(
        lambda c: softdp.lcs_score(c, threshold=0.3, gamma=0.4), similarity.to(DEVICE).requires_grad_()
    )


@each
def test_third_and_forward_mode_derivatives_are_errors(name):
    match, gaps = (gpu_values(1, 3, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    (first,) = torch.autograd.grad(SCORES[name](match, gaps).sum(), match, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), match, create_graph=True)
    with pytest.raises(NotImplementedError, match="softdp.reference has derivatives of every order"):
        second.square().sum().backward()
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        SCORES[name](torch.autograd.forward_ad.make_dual(match, torch.ones_like(match)), gaps)


# ---- alignments and paths ------------------------------------------------------------------------

ALIGNMENTS = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_alignment(match, gap, gamma=0.2, **lengths),
    "anchored": lambda match, gap, **lengths: softdp.fsd_alignment(
        match, gap, boundary="anchored", **lengths
    ),
    "lcs": lambda match, gap, **lengths: softdp.lcs_alignment(
        match + gap, threshold=0.4, gamma=0.2, **lengths
    ),
}
PATHS = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_path(match, gap, **lengths),
    "anchored": lambda match, gap, **lengths: softdp.fsd_path(match, gap, boundary="anchored", **lengths),
    "lcs": lambda match, gap, **lengths: softdp.lcs_path(match + gap, threshold=0.4, **lengths),
}


@every_regime
@both_dtypes
@each
def test_alignments_are_the_scores_gradients(name, size, dtype):
    n, m = ragged(*size)
    match, gaps = gpu_values(8, *size, dtype=dtype), gpu_values(8, size[0], 1, dtype=dtype)
    lengths = {"x_lengths": on_gpu(n), "y_lengths": on_gpu(m)}
    _, (expected, _) = score_and_gradients(SCORES[name], (match, gaps), **lengths)
    assert torch.equal(ALIGNMENTS[name](match, gaps, **lengths), expected)


@each
@pytest.mark.parametrize("size", [(5, 7), (33, 40)])
def test_a_loss_on_an_alignment(name, size):
    tables, wanted = (values(2, *size), values(2, size[0], 1)), values(2, *size)

    def loss(*t):
        return (ALIGNMENTS[name](*t) - wanted.to(t[0].device)).square().sum((1, 2))

    found = score_and_gradients(loss, [on_gpu(t) for t in tables])
    with shim.reference() if shim.ACTIVE else contextlib.nullcontext():
        exact = score_and_gradients(loss, tables)
    for a, b in zip((found[0], *found[1]), (exact[0], *exact[1]), strict=True):
        close(a.cpu(), b, 1e-8)


@every_regime
@each
def test_paths_are_the_references(name, size):
    """Of whole numbers, so that many paths tie."""
    n, m = ragged(*size)
    match, gaps = (torch.randint(-2, 3, (8, *s)).float() for s in (size, (size[0], 1)))
    match[2, 0, 0] = match[4, -1, -1] = -math.inf
    match[7, 0, 0] = math.nan
    found = PATHS[name](on_gpu(match), on_gpu(gaps), x_lengths=on_gpu(n), y_lengths=on_gpu(m))
    with shim.reference() if shim.ACTIVE else contextlib.nullcontext():
        exact = PATHS[name](match, gaps, x_lengths=n, y_lengths=m)
    assert torch.equal(found.steps.cpu(), exact.steps) and torch.equal(found.lengths.cpu(), exact.lengths)
    assert found.tolist() == exact.tolist() and found.lengths[0] > 0


@every_regime
@both_dtypes
def test_visits(size, dtype):
    """LCS: how much of all paths passes through a cell, on a plateau too."""
    similarity, (n, m) = values(8, *size, dtype=dtype), ragged(*size)
    expected = softdp.reference.lcs_visits(
        similarity.double(), threshold=0.5, gamma=0.2, x_lengths=n, y_lengths=m
    )
    similarity, *lengths = (on_gpu(t) for t in (similarity, n, m))
    score, saved = torch.ops.softdp.lcs_forward(similarity, *lengths, 0.5, 0.2, True)
    given = torch.ones_like(score), saved, similarity, *lengths, 0.5, 0.2
    found = torch.ops.softdp.lcs_backward(*given, True)
    close(found.cpu(), expected, TOLERANCE[dtype][1])


@both_dtypes
@pytest.mark.parametrize("size", [*EDGES, 1024, pytest.param(4096, marks=needs_gpu)])
def test_path_mass_is_one_at_both_ends(size, dtype):
    match = scores(1, size, size, dtype=dtype).to(DEVICE)
    zero = torch.zeros((), dtype=dtype, device=DEVICE)
    _, (mass, _) = score_and_gradients(softdp.fsd_score, (match, zero), gamma=0.1, boundary="anchored")
    slack = 1e-10 if dtype == torch.float64 else 1e-4 if size <= 1024 else 1e-3
    assert mass[0, -1, -1].item() == 1
    assert mass[0, 0, 0].item() == pytest.approx(1, abs=slack)
    assert (mass >= 0).all() and (mass <= 1 + slack).all()


def test_float32_at_1024_steps_keeps_the_promised_accuracy():
    match = scores(1, 1024, 1024, dtype=torch.float32)
    for gaps in (torch.zeros(()), scores(1, 1024, 1024, dtype=torch.float32)):
        tables = match, gaps
        value, (mass, _) = score_and_gradients(softdp.fsd_score, [on_gpu(t) for t in tables])
        exact, (wanted, _) = exact_score_and_gradients(softdp.fsd_score, tables)
        assert abs(value.item() / exact.item() - 1) < 1e-6
        worst = (mass.cpu() - wanted).abs().max()
        assert worst < 1e-4 and not worst.isnan()


def anchored(match: torch.Tensor) -> torch.Tensor:
    return softdp.fsd_score(match, 0.0, boundary="anchored")


@pytest.mark.parametrize("N", [1024, pytest.param(16384, marks=needs_gpu)])
def test_rounding_does_not_add_up_along_a_path(N):
    """One small weight recurs at every step of the path: saved in few bits, its error would add up."""
    match = torch.zeros(1, N, 2)
    match[0, 0, 1] = 0.1 * math.log(2 / 7e-6)
    _, (mass,) = score_and_gradients(anchored, (on_gpu(match),))
    _, (wanted,) = exact_score_and_gradients(anchored, (match,))
    worst = (mass.cpu() - wanted).abs().max()
    assert worst < (1e-4 if N == 1024 else 1e-3) and not worst.isnan()


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1e5, 1e6, 1e8, 1e30])
def test_scores_beyond_the_arithmetic_are_right_or_nan(sign, scale, size):
    """float32, gamma 0.1: a score must lie below 2.9e6 gamma; below -2.9e6 gamma on all paths is NaN too."""
    match = sign * scale * (1 + torch.rand(1, size, size))
    found = score_and_gradients(anchored, (on_gpu(match),))
    if scale == 1e5:  # within the range
        assert found[0].isfinite().all()
    _right_or_nan(found, match)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_long_sum_of_large_scores_is_right_or_nan(sign):
    """Every score fits; their sum is past what an int32 exponent holds."""
    match = torch.full((1, 3000, 3), sign * 2e5)
    _right_or_nan(score_and_gradients(anchored, (on_gpu(match),)), match)


def _right_or_nan(found, match):
    value, mass = found[0].cpu(), found[1][0].cpu()
    if value.isnan():
        assert mass.isnan().all()
    else:
        exact = exact_score_and_gradients(anchored, (match,))
        close(value, exact[0], 1e-6)
        close(mass, exact[1][0], 1e-3)


# ---- long pairs ----------------------------------------------------------------------------------


def free_memory() -> int:
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


@needs_gpu
@pytest.mark.parametrize("size", [(16384, 64), (64, 16384), (4097, 1023)])
def test_long_pairs(size):
    match = scores(1, *size, dtype=torch.float32)
    gaps = scores(1, 1, size[1], dtype=torch.float32)
    value, gradients = score_and_gradients(softdp.fsd_score, (on_gpu(match), on_gpu(gaps)))
    exact, wanted = exact_score_and_gradients(softdp.fsd_score, (match, gaps))
    close(value.cpu(), exact, 1e-6)
    close(gradients[0].cpu(), wanted[0], 1e-3)
    close(gradients[1].cpu(), wanted[1], 1e-3)
    agrees(softdp.lcs_score, (values(1, *size, dtype=torch.float32),), threshold=0.5, gamma=0.0)


@needs_gpu
def test_one_pair_of_16384_by_16384():
    if free_memory() < 30 * 2**30:
        pytest.skip("needs 30 GB of free GPU memory: this GPU has less")
    N = 16384
    match = (torch.rand(1, N, N, device=DEVICE) * 2 - 1).requires_grad_()
    score = softdp.fsd_score(match, -0.5, boundary="anchored")
    (mass,) = torch.autograd.grad(score.sum(), match)
    assert score.isfinite().all()
    assert mass[0, -1, -1].item() == 1 and mass[0, 0, 0].item() == pytest.approx(1, abs=1e-3)
    for dim in (1, 2):  # a path takes every row and every column
        assert (mass.sum(dim) > 1 - 1e-3).all()


def test_many_pairs_of_mixed_lengths():
    """More pairs than a GPU runs blocks at once."""
    B, N, M = 3000, 40, 35
    n, m = torch.randint(0, N + 1, (B,)), torch.randint(0, M + 1, (B,))
    tables = values(B, N, M, dtype=torch.float32), values(B, N, 1, dtype=torch.float32)
    agrees(SCORES["fsd"], tables, x_lengths=on_gpu(n), y_lengths=m)


# ---- golden values and losses --------------------------------------------------------------------


def _golden_loss(arrays, key, loss, **options):
    x, y, expected, grad_x, grad_y = (
        torch.from_numpy(arrays[f"{key}_{name}"]) for name in ("x", "y", "score", "grad_x", "grad_y")
    )
    options.update(target=torch.zeros(len(x), dtype=torch.bool, device=DEVICE), reduction="none")
    found, gradients = score_and_gradients(
        loss, (on_gpu(x), on_gpu(y)), gamma=float(arrays["gamma"]), **options
    )
    for actual, wanted in zip((found, *gradients), (expected, grad_x, grad_y), strict=True):
        close(actual.cpu(), wanted, 1e-9)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_golden_ftcl_fsd(golden, n):
    _golden_loss(golden("ftcl_fsd"), f"n{n}", softdp.fsd_loss)


@pytest.mark.parametrize("threshold", [1, 3])
@pytest.mark.parametrize("n", [1, 5, 12])
def test_golden_ftcl_lcs(golden, n, threshold):
    arrays, key = golden("ftcl_lcs"), f"n{n}_t{threshold}"
    _golden_loss(arrays, key, softdp.lcs_loss, threshold=float(arrays[f"{key}_threshold"]))


@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("size", ["1x9", "7x11", "33x20"])
def test_golden_soft_dtw(golden, size, gamma):
    arrays, key = golden("soft_dtw"), f"{size}_g{gamma}"
    cost = torch.from_numpy(arrays[f"{key}_cost"]).to(DEVICE)
    value, (gradient,) = score_and_gradients(softdp.soft_dtw, (cost,), gamma=gamma)
    close(value.cpu(), torch.as_tensor(arrays[f"{key}_value"]).reshape(value.shape), 1e-9)
    close(gradient.cpu(), torch.from_numpy(arrays[f"{key}_grad_cost"]), 1e-9)


ON_THE_SWEEPS = {
    "soft_dtw": (lambda t, **n: softdp.soft_dtw(t, gamma=0.3, **n), (4, 40, 37)),
    "divergence": (lambda t, **n: softdp.soft_dtw_divergence(t, t[:, 3:], gamma=0.3, **n), (4, 40, 5)),
    "needleman_wunsch": (lambda t, **n: softdp.needleman_wunsch(t, -0.5, gamma=0.3, **n), (4, 40, 37)),
}


@pytest.mark.parametrize("call, size", ON_THE_SWEEPS.values(), ids=ON_THE_SWEEPS)
def test_soft_dtw_and_needleman_wunsch(call, size):
    table = values(*size)
    lengths = {"x_lengths": torch.tensor([40, 7, 33, 1]), "y_lengths": torch.tensor([37, 30, 2, 37])}
    on_device = {name: t.to(DEVICE) for name, t in lengths.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softdp._devices, "has_kernel", lambda device: False)
        expected, (expected_gradient,) = score_and_gradients(call, (table,), **lengths)
    found, (gradient,) = score_and_gradients(call, (table.to(DEVICE),), **on_device)
    close(found.cpu(), expected, 1e-9)
    close(gradient.cpu(), expected_gradient, 1e-9)
    for bad in (-1, 41):
        on_device["x_lengths"][0] = bad
        found = call(table.to(DEVICE), **on_device)
        assert found[0].isnan() and found[1:].isfinite().all()


@pytest.mark.parametrize("loss", [softdp.fsd_loss, softdp.lcs_loss])
def test_losses(loss):
    x, y = torch.randn(4, 30, 16, dtype=torch.float64), torch.randn(4, 35, 16, dtype=torch.float64)
    options = {"x_lengths": torch.tensor([30, 2, 17, 0]), "y_lengths": torch.tensor([35, 35, 1, 4])}
    options["target"] = torch.tensor([0, 1, 1, 0])
    if loss is softdp.lcs_loss:
        options["threshold"] = 0.3
    on_device = {name: on_gpu(value) for name, value in options.items()}
    exact = agrees(loss, (x, y), **on_device)
    found = score_and_gradients(loss, (on_gpu(x.float()), on_gpu(y.float())), **on_device)
    for a, b in zip((found[0], *found[1]), (exact[0], *exact[1]), strict=True):
        close(a, b, 1e-4)


# ---- a citizen of PyTorch ------------------------------------------------------------------------


def operator_calls():
    """Names and arguments; `saved` comes from the forward operator, which alone knows its layout."""
    n, m = torch.tensor([5, 2, 0], device=DEVICE), torch.tensor([7, 3, 4], dtype=torch.int32, device=DEVICE)
    dtypes = torch.float32, torch.float64, torch.bfloat16
    for dtype, (N, M) in itertools.product(dtypes, ((5, 7), (33, 40))):
        match, gaps = gpu_values(3, N, M, dtype=dtype), gpu_values(1, N, 1, dtype=dtype)
        for delete, lengths in itertools.product((None, match.clone()), ((None, None), (n, m))):
            for save in (False, True):
                yield "fsd_forward", (match, gaps, delete, *lengths, 0.2, False, save)
            score, saved = torch.ops.softdp.fsd_forward(match, gaps, delete, *lengths, 0.2, True, True)
            scores = match, gaps, delete
            for needs in ((True, True, True), (False, True, False)):
                given = torch.ones_like(score), saved, *scores, *lengths, 0.2, True
                yield "fsd_backward", (*given, *needs)
                if dtype != torch.bfloat16:
                    directions = match.neg(), gaps if needs[0] else None, delete
                    given = *directions, torch.ones_like(score), *scores, *lengths, 0.2, True
                    yield "fsd_double_backward", (*given, *needs)
        for save in (False, True):
            yield "lcs_forward", (match, n, m, 0.4, 0.2, save)
        score, saved = torch.ops.softdp.lcs_forward(match, n, m, 0.4, 0.2, True)
        for visits in (False, True):
            given = torch.ones_like(score), saved, match, n, m, 0.4, 0.2
            yield "lcs_backward", (*given, visits)
        if dtype != torch.bfloat16:
            given = match.neg(), torch.ones_like(score), match, n, m, 0.4, 0.2
            yield "lcs_double_backward", given


@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name):
    calls = [arguments for operator, arguments in operator_calls() if operator == name]
    assert calls
    for arguments in calls:
        torch.library.opcheck(getattr(torch.ops.softdp, name).default, arguments)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", ["fsd_forward", "lcs_forward"])
def test_opcheck_with_gradients(name):
    for operator, arguments in operator_calls():
        if operator == name and arguments[-1]:
            leaves = [
                a.clone().requires_grad_() if torch.is_tensor(a) and a.is_floating_point() else a
                for a in arguments
            ]
            torch.library.opcheck(getattr(torch.ops.softdp, name).default, tuple(leaves))


@each
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile_without_a_graph_break(name, backend, dynamic):
    if backend == "inductor":
        pytest.importorskip("triton", reason="needs triton: a CUDA build of torch brings it")
    torch._dynamo.reset()
    compiled = torch.compile(SCORES[name], fullgraph=True, backend=backend, dynamic=dynamic)
    for B, N, M in ((3, 5, 7), (2, 40, 35)):
        tables = [gpu_values(B, N, width) for width in (M, 1)]
        lengths = {"x_lengths": torch.full((B,), N - 1, device=DEVICE)}
        eager = score_and_gradients(SCORES[name], tables, **lengths)
        found = score_and_gradients(compiled, tables, **lengths)
        for a, b in zip((found[0], *found[1]), (eager[0], *eager[1]), strict=True):
            close(a, b, 1e-5)


@each
@pytest.mark.parametrize("dims", [(0, None), (1, 0), (2, 2), (None, 0)])
def test_vmap(name, dims):
    tables = gpu_values(3, 5, 7, dtype=torch.float64), gpu_values(1, 5, 1, dtype=torch.float64)
    stacked = [
        t if d is None else torch.stack([t, -t, t * 0.5, t + 0.1], dim=d)
        for t, d in zip(tables, dims, strict=True)
    ]
    found = torch.func.vmap(SCORES[name], in_dims=dims)(*stacked)
    alone = [
        SCORES[name](*(t if d is None else t.select(d, k) for t, d in zip(stacked, dims, strict=True)))
        for k in range(4)
    ]
    close(found, torch.stack(alone), 1e-12)


@each
def test_torch_func(name):
    match, gaps = gpu_values(3, 33, 40, dtype=torch.float64), gpu_values(1, 33, 1, dtype=torch.float64)
    lengths = torch.tensor([[33, 4, 32], [0, 1, 2]], device=DEVICE)
    found = torch.func.vmap(lambda n: SCORES[name](match, gaps, x_lengths=n))(lengths)
    close(found, torch.stack([SCORES[name](match, gaps, x_lengths=n) for n in lengths]), 1e-12)
    _, expected = score_and_gradients(SCORES[name], (match, gaps))
    found = torch.func.grad(lambda *t: SCORES[name](*t).sum(), argnums=(0, 1))(match, gaps)
    per_sample = torch.func.vmap(torch.func.grad(lambda m, g: SCORES[name](m[None], g).sum()), (0, None))
    for a, b in zip((*found, per_sample(match, gaps)), (*expected, expected[0]), strict=True):
        close(a, b, 1e-12)


@each
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(name, half):
    match = gpu_values(3, 5, 7).requires_grad_()
    gaps = gpu_values(1, 5, 1)
    weight = torch.eye(7, device=DEVICE, requires_grad=True)
    with torch.autocast(DEVICE.type, dtype=half):
        plain = SCORES[name](match, gaps)
        score = SCORES[name](match @ weight, gaps)  # a half tensor and a float32 one
    assert plain.dtype == score.dtype == torch.float32
    assert torch.equal(plain, SCORES[name](match, gaps))
    score.sum().backward()
    assert weight.grad.dtype == match.grad.dtype == torch.float32


@every_regime
@each
def test_the_same_bits_every_time(name, size):
    tables = [gpu_values(5, *size) for _ in range(2)]
    first = score_and_gradients(SCORES[name], tables)
    for _ in range(10):
        assert same(score_and_gradients(SCORES[name], tables), first)


def test_backward_twice_gives_the_same():
    match = gpu_values(2, 130, 40).requires_grad_()
    score = softdp.fsd_score(match, 0.0)
    first, second = (torch.autograd.grad(score.sum(), match, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


# ---- streams, graphs, devices --------------------------------------------------------------------

# Two small problems of FTCL's, one of several tiles, one whose bands are chained through global memory.
GRAPHED = [(16, 5, 5), (16, 30, 30), (4, 130, 100), (1, 700, 600)]


@needs_gpu
@each
@pytest.mark.parametrize("size", GRAPHED, ids=lambda size: "x".join(map(str, size)))
def test_graph_capture_and_replay(name, size):
    B, N, M = size
    match, gaps = (torch.zeros(B, N, width, device=DEVICE) for width in (M, 1))
    n, m = (torch.full((B,), full, device=DEVICE) for full in (N, M))

    def step():
        # Leaves of its own: autograd remembers the stream that a leaf was first used on.
        leaves = [t.detach().requires_grad_() for t in (match, gaps)]
        score = SCORES[name](*leaves, x_lengths=n, y_lengths=m)
        return score, torch.autograd.grad(score.sum(), leaves)

    warm = torch.cuda.Stream()
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for turn in range(4):
        match.copy_(values(*size))
        gaps.copy_(values(B, N, 1))
        n.fill_(max(1, N - 7 * turn))
        m.fill_(max(1, M - 3 * turn))
        graph.replay()
        graph.replay()
        assert same(captured, step())


@needs_gpu
@each
@every_regime
def test_a_side_stream_is_respected(name, size):
    """The inputs arrive late on a side stream; a kernel on any other would read what was there before."""
    match, gaps = (torch.zeros(2, *size, device=DEVICE, requires_grad=True) for _ in range(2))
    late = [gpu_values(2, *size) for _ in range(2)]
    expected = score_and_gradients(SCORES[name], late)
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(10**8)
        with torch.no_grad():
            match.copy_(late[0])
            gaps.copy_(late[1])
        score = SCORES[name](match, gaps)
        found = score, torch.autograd.grad(score.sum(), (match, gaps))
    side.synchronize()
    assert same(found, expected)


@needs_gpu
@each
def test_a_second_device(name):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs a second CUDA device: there is one")
    tables = [values(3, 130, 40, dtype=torch.float32) for _ in range(2)]
    lengths = torch.tensor([130, 4, 0])
    first, second = (
        score_and_gradients(SCORES[name], [t.to(d) for t in tables], x_lengths=lengths.to(d))
        for d in ("cuda:0", "cuda:1")
    )
    assert second[0].device.index == 1 and torch.cuda.current_device() == 0
    close(second[0].cpu(), first[0].cpu(), 1e-6)
    for a, b in zip(second[1], first[1], strict=True):
        close(a.cpu(), b.cpu(), 1e-5)
    with pytest.raises(ValueError, match="x_lengths must be on the CPU or on .* device cuda:1"):
        SCORES[name](*(t.to("cuda:1") for t in tables), x_lengths=lengths.to("cuda:0"))


def lengths_in(where: str, size: tuple[int, int]) -> dict:
    kept = {"none": None, "gpu": on_gpu, "pinned": lambda t: t.pin_memory(), "pageable": lambda t: t}[where]
    lengths = (torch.tensor([full, full // 2]) for full in size)
    return {} if kept is None else dict(zip(("x_lengths", "y_lengths"), map(kept, lengths), strict=True))


@contextlib.contextmanager
def no_waiting():
    """Whatever of PyTorch's waits for the GPU raises."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
@each
@every_regime
@pytest.mark.parametrize("where", ["none", "gpu", "pinned", "pageable"])
def test_the_host_never_waits(name, size, where):
    """PyTorch sees no wait, and the host is back while the GPU still works on what came before."""
    match, gaps = (gpu_values(2, *size).requires_grad_() for _ in range(2))
    lengths = lengths_in(where, size)

    def step():
        score = SCORES[name](match, gaps, **lengths)
        return score, torch.autograd.grad(score.sum(), (match, gaps))

    expected = [step() for _ in range(3)][-1]  # kernels are loaded, memory is in PyTorch's hands
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    with no_waiting():
        torch.cuda._sleep(4 * 10**8)  # a fifth of a second
        found = step()
        done.record()
        assert not done.query(), "when the call came back the GPU had finished"
    assert same(found, expected)


@needs_gpu
def test_cpu_lengths_may_change_after_the_call():
    match = gpu_values(2, 30, 40)
    expected = softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([30, 5]))
    for lengths in (torch.tensor([30, 5]), torch.tensor([30, 5]).pin_memory()):
        torch.cuda._sleep(10**8)
        score = softdp.fsd_score(match, 0.0, x_lengths=lengths)
        if not lengths.is_pinned():  # pinned memory is the caller's until the stream has passed
            lengths.zero_()
        assert torch.equal(score, expected)


# ---- errors --------------------------------------------------------------------------------------


@pytest.fixture
def little_memory():
    """little_memory(size): from now on PyTorch may take that many bytes more than are in use."""

    def limit(more: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info()[1]
        fraction = (torch.cuda.memory_reserved() + more) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, fraction))

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@needs_gpu
@pytest.mark.parametrize("name", ["fsd", "lcs"])
def test_out_of_memory_names_the_operator_and_the_next_call_works(name, little_memory):
    small = gpu_values(2, 33, 40)
    expected = score_and_gradients(SCORES[name], (small, small))
    cell = torch.zeros(1, 1, 1, device=DEVICE, requires_grad=True)
    match = cell.expand(1, 10000, 10000)  # no memory; what the forward sweep saves takes 0.4 GB at least

    def score():
        if name == "fsd":
            return softdp.fsd_score(match, 0.0)
        return softdp.lcs_score(match, threshold=0.5)

    little_memory(2**27)
    with pytest.raises(RuntimeError, match="out of memory") as error:
        score()
    assert f"softdp::{name}_forward" in str(error.value)
    assert same(score_and_gradients(SCORES[name], (small, small)), expected)
    little_memory(2**33)
    value = score()
    little_memory(2**27)
    with pytest.raises(RuntimeError, match="out of memory") as error:
        value.sum().backward()
    assert f"softdp::{name}_backward" in str(error.value)
    del value
    assert same(score_and_gradients(SCORES[name], (small, small)), expected)


@needs_shim
@pytest.mark.parametrize("name", ["fsd", "lcs"])
def test_a_failing_launch_names_the_operator_and_the_next_call_works(name):
    for size in REGIMES:
        match, gaps = (gpu_values(2, *size).requires_grad_() for _ in range(2))
        score = SCORES[name](match, gaps)
        expected = torch.autograd.grad(score.sum(), (match, gaps), retain_graph=True)
        with shim.failing_launches():
            with pytest.raises(
                RuntimeError, match=f"softdp::{name}_forward: CUDA error: .*cudaErrorLaunchFailure"
            ):
                SCORES[name](match, gaps)
            with pytest.raises(RuntimeError, match=f"softdp::{name}_backward: CUDA error: "):
                torch.autograd.grad(score.sum(), (match, gaps), retain_graph=True)
        again = SCORES[name](match, gaps)
        assert same((again, torch.autograd.grad(again.sum(), (match, gaps))), (score, expected))


@needs_shim
def test_no_memory_names_the_operator_and_the_next_call_works():
    cell = torch.zeros(1, 1, 1, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"softdp::fsd_forward: a tensor of size \(.* out of memory"):
        softdp.fsd_score(cell.expand(1, 2**20, 2**20), 0.0)
    assert softdp.fsd_score(cell, 0.0, boundary="anchored").item() == 0


@needs_gpu
def test_lengths_stay_on_the_gpu_while_a_graph_is_captured():
    match, graph = gpu_values(2, 30, 40), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), pytest.raises(ValueError, match="x_lengths must be on the scores' device"):
        softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([30, 5]))


def test_the_raw_operators_never_leave_their_tensors():
    match = torch.zeros(2, 3, 4, device=DEVICE)
    forward, backward = torch.ops.softdp.fsd_forward, torch.ops.softdp.fsd_backward
    three = torch.ones(3, dtype=torch.int32, device=DEVICE)
    options = (0.1, False, True)
    for call, message in (
        (lambda: forward(match[0], match, None, None, None, *options), "match"),
        (lambda: forward(match, match.double(), None, None, None, *options), "insert"),
        (lambda: forward(match.half(), match, None, None, None, *options), "insert must have match's dtype"),
        (lambda: forward(match, match, match[:, :, :3], None, None, *options), "delete"),
        (lambda: forward(match, match, None, None, None, -0.1, False, True), "gamma"),
        (lambda: forward(match, match, None, None, None, math.nan, False, True), "gamma"),
        (lambda: torch.ops.softdp.lcs_forward(match, None, None, math.nan, 0.1, True), "threshold"),
        (lambda: forward(match, match, None, three, None, *options), "x_lengths"),
        (lambda: forward(match, match, None, None, match[:, 0, 0], *options), "y_lengths"),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()
    if not shim.ACTIVE:
        with pytest.raises(RuntimeError, match="insert"):
            forward(match, torch.zeros(2, 3, 4), None, None, None, *options)
    score, saved = forward(match, match, None, None, None, *options)
    rest = None, None, None, 0.1, False, True, True, False
    wrong = [(score, saved[:0])] + ([] if shim.ACTIVE else [(score, saved.cpu()), (score.cpu(), saved)])
    wrong += [(other, saved) for other in (score[:1], score.double())]
    for grad_score, weights in wrong:
        with pytest.raises(RuntimeError, match="softdp::fsd_backward: .*(saved|scores)"):
            backward(grad_score, weights, match, match, *rest)
    larger = torch.zeros(2, 4, 4, device=DEVICE)
    for table, gaps in ((larger, larger), (match, larger), (match.double(), match), (match[0], match)):
        with pytest.raises(RuntimeError, match="softdp::fsd_backward: .*(saved|insert|match)"):
            backward(score, saved, table, gaps, *rest)
    d_match, *_ = backward(torch.ones_like(score), saved, match, match, *rest)
    assert d_match[0, -1, -1] == 1  # and the device is well


@needs_gpu
def test_cpu_lengths_out_of_range_are_named():
    match = torch.zeros(2, 3, 4, device=DEVICE)
    with pytest.raises(ValueError, match=r"x_lengths must lie in \[0, 3\], got 4"):
        softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([1, 4]))
    with pytest.raises(ValueError, match="insert must be on match's device cuda"):
        softdp.fsd_score(match, torch.zeros(2, 3, 4))
