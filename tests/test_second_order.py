"""Second derivatives: finite differences of the first, the reference's, and what float32 keeps of them."""

import itertools
import math
from functools import partial

import pytest
import shim
import torch
from devices import (
    REGIMES,
    SCORES,
    both_boundaries,
    both_dtypes,
    each,
    every_regime,
    is_gpu,
    on_each_device,
    products,
    products_agree,
    ragged,
    to,
    values,
)
from helpers import close, scores
from test_gradients import away_from
from test_sizes import gap

import softdp

F64 = torch.float64
GAPS = [(), (2, 1, 1), (2, 4, 1), (1, 1, 5), (4, 5), (2, 4, 5)]
LENGTHS = {"x_lengths": torch.tensor([4, 2]), "y_lengths": torch.tensor([3, 5])}
each_gap = pytest.mark.parametrize("shape", GAPS, ids=lambda shape: "x".join(map(str, shape)) or "number")
full_and_ragged = pytest.mark.parametrize("lengths", [{}, LENGTHS], ids=["full", "ragged"])


def quick(size):
    """The reference takes long for the last regime, and it is what the shim is compared with."""
    return (140, 40) if shim.ACTIVE and size == REGIMES["cuda"][-1] else size


def agree(score, reference, tables, device, tolerance=1e-9):
    directions = [torch.randn_like(t) for t in tables]
    weight = torch.rand(tables[0].shape[0], dtype=F64) + 0.5
    given = ([to(device, t) for t in tables], [to(device, v) for v in directions], to(device, weight))
    found = products(score, *given)
    expected = products(reference, tables, directions, weight)
    for a, b in zip(found, expected, strict=True):
        close(a.cpu(), b, tolerance)


@each_gap
@both_boundaries
@full_and_ragged
@pytest.mark.parametrize("gaps", [1, 2])
def test_fsd_gradgradcheck(shape, boundary, lengths, gaps, device):
    tables = [scores(2, 4, 5), *(scores(*shape) for _ in range(gaps))]
    lengths = {name: to(device, t) for name, t in lengths.items()}
    assert torch.autograd.gradgradcheck(
        lambda *t: softdp.fsd_score(*t, gamma=0.4, boundary=boundary, **lengths),
        [to(device, t).requires_grad_() for t in tables],
    )


@full_and_ragged
@pytest.mark.parametrize("gamma", [0.2, 0.4, 3.0])
def test_lcs_gradgradcheck(lengths, gamma, device):
    similarity = to(device, away_from(0.3, scores(2, 4, 5))).requires_grad_()
    lengths = {name: to(device, t) for name, t in lengths.items()}
    assert torch.autograd.gradgradcheck(
        lambda c: softdp.lcs_score(c, threshold=0.3, gamma=gamma, **lengths), (similarity,)
    )


@both_boundaries
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 33)])
def test_products_are_the_references(size, boundary, device):
    tables = [scores(3, *size), scores(3, size[0], 1), scores(*size)]
    options = {"gamma": 0.2, "boundary": boundary}
    agree(
        lambda *t: softdp.fsd_score(*t, **options),
        lambda *t: softdp.reference.fsd_score(*t, **options),
        tables,
        device,
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 33)])
def test_lcs_products_are_the_references(size, device):
    options = {"gamma": 0.2, "threshold": 0.3}
    agree(
        lambda c: softdp.lcs_score(c, **options),
        lambda c: softdp.reference.lcs_score(c, **options),
        [scores(3, *size)],
        device,
    )


UP_TO_A_BLOCK = [(1, 1), (1, 40), (40, 1), (5, 7), (32, 32), (33, 31)]


@on_each_device({"cpu": UP_TO_A_BLOCK, "cuda": [*UP_TO_A_BLOCK, (129, 70)]})
@both_dtypes
@each
def test_products(name, size, dtype, device):
    for tables in ((values(2, *size, dtype=dtype) for _ in "mg"), values(2, *size, dtype=dtype).split(1)):
        products_agree(SCORES[name], list(tables), device)


@on_each_device({"cpu": [(40, 70)], "cuda": [(300, 280), (600, 40)]})
@each
def test_products_over_several_bands(name, size, device):
    tables = [values(2, *size, dtype=torch.float32) for _ in "mg"]
    if shim.ACTIVE:  # the reference takes long there
        tables = [t[:1, : size[0], : size[1] // 3] for t in tables]
    products_agree(SCORES[name], tables, device)


@both_boundaries
@pytest.mark.parametrize("delete", ["none", "number", "row", "column", "dense"])
@pytest.mark.parametrize("insert", ["number", "pair", "row", "shared column", "table", "dense"])
def test_products_of_gap_kinds(insert, delete, boundary, device):
    for size in ((3, 5, 7), (2, 33, 40) if is_gpu(device) else (2, 17, 20)):
        gaps = [gap(kind, *size, F64) for kind in (insert, delete) if kind != "none"]
        products_agree(
            lambda *t: softdp.fsd_score(*t, gamma=0.3, boundary=boundary), [values(*size), *gaps], device
        )


@every_regime
@each
def test_products_of_ragged_and_masked_pairs(name, size, device):
    N, M = size = quick(size)
    n, m = ragged(N, M)
    match, gaps = values(8, N, M), values(8, N, 1)
    match[0, :, M // 2] = -math.inf
    match[0, N // 2, M // 2] = 0.5  # a gate that all anchored paths take
    match[4, 0, 0] = math.nan

    def score(*t):
        return SCORES[name](*t, x_lengths=to(t[0].device, n), y_lengths=to(t[0].device, m))

    _, by_match, _ = products_agree(score, [match, gaps], device)
    outside = (torch.arange(N) >= n[:, None])[:, :, None] | (torch.arange(M) >= m[:, None])[:, None]
    assert (by_match[to(device, outside)] == 0).all()


def test_masks(device):
    band = (torch.arange(9)[:, None] - torch.arange(9)).abs() > 2
    match = scores(2, 9, 9).masked_fill(band, -math.inf)
    agree(
        lambda m, g: softdp.fsd_score(m, g, gamma=0.2, boundary="anchored"),
        lambda m, g: softdp.reference.fsd_score(m, g, gamma=0.2, boundary="anchored"),
        [match, scores(2, 9, 9)],
        device,
    )


def test_pairs_without_a_path_and_spoiled_pairs_keep_to_themselves(device):
    match = scores(3, 4, 4)
    match[0, -1, -1] = -math.inf
    match[1, 0, 0] = math.nan
    tables = [to(device, t) for t in (match, scores(3, 4, 4))]
    weight, *found = products(
        lambda m, g: softdp.fsd_score(m, g, gamma=0.3), tables, [torch.ones_like(t) for t in tables],
        torch.ones(3, dtype=F64, device=device),
    )  # fmt: skip
    for product in found:
        assert (product[0] == 0).all() and product[1].isnan().all() and product[2].isfinite().all()
    assert weight[0] == 0 and weight[1].isnan()
    _, *alone = products(
        lambda m, g: softdp.fsd_score(m, g, gamma=0.3), [t[2:] for t in tables],
        [torch.ones_like(t[2:]) for t in tables], torch.ones(1, dtype=F64, device=device),
    )  # fmt: skip
    for a, b in zip(found, alone, strict=True):
        assert torch.equal(a[2:], b)


BOTH = {
    "fsd": lambda library, m, g: library.fsd_score(m, g, gamma=0.3),
    "lcs": lambda library, m, g: library.lcs_score(m + g, threshold=0.2, gamma=0.3),
    "soft-DTW": lambda library, m, g: library.soft_dtw(m + g, gamma=0.3),
    "needleman_wunsch": lambda library, m, g: library.needleman_wunsch(m, g, gamma=0.3),
}


@pytest.mark.parametrize("name", BOTH)
def test_a_spoiled_pair_of_which_nothing_is_asked_gets_0(library, name):
    """By a penalty on the good pairs' gradients; NaN where a direction, or the weight with it, is not 0."""
    tables = [scores(3, 5, 6), scores(3, 5, 6)]
    tables[0][1, 2, 2] = math.nan
    tables = [t.requires_grad_() for t in tables]
    good = [0, 2]
    value = BOTH[name](library, *tables)
    gradients = torch.autograd.grad(value[good].sum(), tables, create_graph=True)
    found = torch.autograd.grad(sum(g.square().sum() for g in gradients), tables)
    wanted_of = [t[good].detach().requires_grad_() for t in tables]
    value = BOTH[name](library, *wanted_of)
    gradients = torch.autograd.grad(value.sum(), wanted_of, create_graph=True)
    wanted = torch.autograd.grad(sum(g.square().sum() for g in gradients), wanted_of)
    for a, b in zip(found, wanted, strict=True):
        close(a[good], b, 1e-10)
        assert (a[1] == 0).all()

    def second(direction, weight):
        directions = [torch.zeros_like(t).detach() for t in tables]
        for v in directions:
            v[good], v[1, 0, 0] = 1.0, direction
        return products(
            partial(BOTH[name], library), tables, directions, torch.tensor([1.0, weight, 1.0], dtype=F64)
        )

    for weight in (0.0, 1.0):
        tangent, *found = second(0.0, weight)
        assert tangent[1] == 0 and all((p[1] == 0).all() and p.isfinite().all() for p in found)
    tangent, *found = second(1.0, 1.0)
    assert tangent[1].isnan() and tangent[good].isfinite().all()
    assert all(p[1].isnan().any() and p[good].isfinite().all() for p in found)


@on_each_device(REGIMES)
def test_a_spoiled_pair_of_which_no_second_derivative_is_asked_gets_0(size, device):
    size = quick(size)
    good = [0, 2]
    match, gap = values(3, *size), values(1, 1, 1)
    match[1, size[0] // 2, size[1] // 2] = math.nan
    match, gap = (to(device, t).requires_grad_() for t in (match, gap))
    for score in (
        lambda m, g: softdp.fsd_score(m, g, gamma=0.3),
        lambda m, g: softdp.lcs_score(m + g, threshold=0.4, gamma=0.3),
    ):
        (gradient,) = torch.autograd.grad(score(match, gap)[good].sum(), match, create_graph=True)
        by_match, by_gap = torch.autograd.grad(gradient.square().sum(), (match, gap))
        assert (by_match[1] == 0).all() and by_match.isfinite().all() and by_gap.isfinite().all()


@pytest.mark.parametrize("size", [(5, 6), (40, 50), (140, 40)], ids=str)
def test_alignments_of_good_pairs_train_beside_a_spoiled_one(size, either):
    for align in (
        lambda m, g: softdp.fsd_alignment(m, g, gamma=0.3),
        lambda m, g: softdp.lcs_alignment(m + g, threshold=0.2, gamma=0.3),
    ):
        match, gap = scores(3, *size), torch.zeros(1, 1, 1, dtype=F64, device=either, requires_grad=True)
        match[1, 2, 2] = math.nan
        match = to(either, match).requires_grad_()
        weight = to(either, scores(3, *size))
        E = align(match, gap)
        assert E[1].isnan().all()
        by_match, by_gap = torch.autograd.grad((weight * E)[[0, 2]].sum(), (match, gap))
        alone = match.detach()[[0, 2]].requires_grad_()
        wanted = torch.autograd.grad((weight[[0, 2]] * align(alone, gap)).sum(), (alone, gap))
        close(by_match[[0, 2]], wanted[0], 1e-10)
        close(by_gap, wanted[1], 1e-10)
        assert (by_match[1] == 0).all()
        by_match, _ = torch.autograd.grad(align(match, gap)[:2].sum(), (match, gap))
        assert by_match[1].isnan().all() and by_match[[0, 2]].isfinite().all()


def test_no_cells(device):
    for size in ((2, 0, 3), (2, 3, 0), (0, 3, 3)):
        match, gap = (torch.zeros(s, device=device, requires_grad=True) for s in (size, (1, 1, 1)))
        (gradient,) = torch.autograd.grad(softdp.fsd_score(match, gap).sum(), match, create_graph=True)
        assert gradient.shape == size
        second, by_gap = torch.autograd.grad(gradient.sum(), (match, gap))
        assert second.shape == size and by_gap.tolist() == [[[0]]]


@each
def test_gamma_0_has_no_curvature(name, device):
    score = {
        "fsd": lambda m, g: softdp.fsd_score(m, g, gamma=0.0),
        "anchored": lambda m, g: softdp.fsd_score(m, g, gamma=0.0, boundary="anchored"),
        "lcs": lambda m, g: softdp.lcs_score(m + g, threshold=0.4, gamma=0.0),
        "needleman_wunsch": lambda m, g: softdp.needleman_wunsch(m, g, gamma=0.0),
    }[name]
    for size in ((5, 7), (40, 33)):
        _, *found = products_agree(score, [values(2, *size) for _ in "mg"], device)
        assert all((p == 0).all() for p in found)


def test_float32_keeps_a_thousandth_of_the_largest_at_256_steps(device):
    def keeps(score, tables):
        directions = [torch.randn_like(t) for t in tables]
        found = products(
            score, [to(device, t) for t in tables], [to(device, v) for v in directions],
            torch.ones(1, device=device),
        )  # fmt: skip
        exact = products(
            score, [t.double() for t in tables], [v.double() for v in directions], torch.ones(1, dtype=F64)
        )
        for a, b in zip(found, exact, strict=True):
            assert a.dtype == torch.float32
            assert (a.cpu() - b).abs().max() <= 1e-3 * b.abs().max()

    for gamma, boundary in itertools.product((0.05, 0.1, 1.0), ("free", "anchored")):
        score = partial(softdp.fsd_score, gamma=gamma, boundary=boundary)
        keeps(score, [scores(1, 256, 256, dtype=torch.float32) for _ in range(2)])
    keeps(partial(softdp.lcs_score, gamma=0.1, threshold=0.8), [scores(1, 256, 256, dtype=torch.float32)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_scores_get_half_second_derivatives(dtype, device):
    tables = [scores(2, 6, 5, dtype=torch.float32).to(dtype), scores(2, 6, 1, dtype=torch.float32).to(dtype)]
    directions = [torch.randn_like(t) for t in tables]
    score = lambda *t: softdp.fsd_score(*t, gamma=0.3)  # noqa: E731
    given = [to(device, t) for t in tables], [to(device, v) for v in directions]
    _, *found = products(score, *given, torch.ones(2, device=device))
    _, *exact = products(
        score, [t.double() for t in tables], [v.double() for v in directions], torch.ones(2, dtype=F64)
    )
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == dtype
        assert (a.cpu() - b).abs().max() <= 4 * torch.finfo(dtype).eps * b.abs().max()


@pytest.mark.parametrize("wanted", [w for w in itertools.product([True, False], repeat=3) if any(w)])
def test_only_what_is_asked_for(wanted, device):
    tables = [scores(2, 4, 5), scores(2, 4, 1), scores(4, 5)]
    direction = torch.randn(2, 4, 5, dtype=F64)
    found = []
    for library, place in ((softdp, device), (softdp.reference, "cpu")):
        given = [to(place, t.clone()).requires_grad_(want) for t, want in zip(tables, wanted, strict=True)]
        leaves = [t for t in given if t.requires_grad]
        score = library.fsd_score(*given, gamma=0.4).square().sum()
        gradients = torch.autograd.grad(score, leaves, create_graph=True)
        along = sum((g * to(place, direction)).sum() for g in gradients)
        found.append(torch.autograd.grad(along, leaves))
    for a, b in zip(*found, strict=True):
        close(a.cpu(), b, 1e-9)


@each
def test_the_third_derivative_is_an_error_and_no_silent_zero(name, device):
    match, gaps = (to(device, scores(1, 3, 3)).requires_grad_() for _ in range(2))
    (first,) = torch.autograd.grad(SCORES[name](match, gaps).sum(), match, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), match, create_graph=True)
    for loss in (second.sum(), second.square().sum()):
        with pytest.raises(NotImplementedError, match="softdp.reference has derivatives of every order"):
            loss.backward(retain_graph=True)


def test_the_gradient_of_the_gradient_by_torch_func(device):
    match = to(device, scores(1, 3, 4))
    found = torch.func.jacrev(torch.func.grad(lambda m: softdp.fsd_score(m, 0.1, gamma=0.5).sum()))(match)
    expected = torch.autograd.functional.hessian(
        lambda m: softdp.reference.fsd_score(m, 0.1, gamma=0.5).sum(), match.cpu()
    )
    close(found.cpu(), expected, 1e-9)
