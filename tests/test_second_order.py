"""Second derivatives: finite differences of the first, the reference's, and what float32 keeps of them."""

import itertools
import math
from functools import partial

import pytest
import torch
from helpers import by_implementation, close, scores
from test_gradients import away_from

import softdp

F64 = torch.float64
GAPS = [(), (2, 1, 1), (2, 4, 1), (1, 1, 5), (4, 5), (2, 4, 5)]
LENGTHS = {"x_lengths": torch.tensor([4, 2]), "y_lengths": torch.tensor([3, 5])}
each_boundary = pytest.mark.parametrize("boundary", ["free", "anchored"])
each_gap = pytest.mark.parametrize("shape", GAPS, ids=lambda shape: "x".join(map(str, shape)) or "number")
ragged = pytest.mark.parametrize("lengths", [{}, LENGTHS], ids=["full", "ragged"])


def products(score, tables, directions, weight):
    """Hessian of sum(weight * score) times the directions, and the gradients' own value along them."""
    leaves = [t.detach().clone().requires_grad_() for t in tables]
    weight = weight.detach().clone().requires_grad_()
    gradients = torch.autograd.grad((weight * score(*leaves)).sum(), leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))
    return torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)


def agree(score, reference, tables, tolerance=1e-9):
    directions = [torch.randn_like(t) for t in tables]
    weight = torch.rand(tables[0].shape[0], dtype=F64) + 0.5
    found = products(score, tables, directions, weight)
    expected = products(reference, tables, directions, weight)
    for a, b in zip(found, expected, strict=True):
        close(a, b, tolerance)


@each_gap
@each_boundary
@ragged
@pytest.mark.parametrize("gaps", [1, 2])
def test_fsd_gradgradcheck(shape, boundary, lengths, gaps):
    tables = [scores(2, 4, 5), *(scores(*shape) for _ in range(gaps))]
    assert torch.autograd.gradgradcheck(
        lambda *t: softdp.fsd_score(*t, gamma=0.4, boundary=boundary, **lengths),
        [t.requires_grad_() for t in tables],
    )


@ragged
@pytest.mark.parametrize("gamma", [0.2, 3.0])
def test_lcs_gradgradcheck(lengths, gamma):
    similarity = away_from(0.3, scores(2, 4, 5)).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda c: softdp.lcs_score(c, threshold=0.3, gamma=gamma, **lengths), (similarity,)
    )


@each_boundary
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 33)])
def test_products_are_the_references(size, boundary):
    tables = [scores(3, *size), scores(3, size[0], 1), scores(*size)]
    options = {"gamma": 0.2, "boundary": boundary}
    agree(
        lambda *t: softdp.fsd_score(*t, **options),
        lambda *t: softdp.reference.fsd_score(*t, **options),
        tables,
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 33)])
def test_lcs_products_are_the_references(size):
    options = {"gamma": 0.2, "threshold": 0.3}
    agree(
        lambda c: softdp.lcs_score(c, **options),
        lambda c: softdp.reference.lcs_score(c, **options),
        [scores(3, *size)],
    )


def test_masks():
    band = (torch.arange(9)[:, None] - torch.arange(9)).abs() > 2
    match = scores(2, 9, 9).masked_fill(band, -math.inf)
    agree(
        lambda m, g: softdp.fsd_score(m, g, gamma=0.2, boundary="anchored"),
        lambda m, g: softdp.reference.fsd_score(m, g, gamma=0.2, boundary="anchored"),
        [match, scores(2, 9, 9)],
    )


def test_pairs_without_a_path_and_spoiled_pairs_keep_to_themselves():
    match = scores(3, 4, 4)
    match[0, -1, -1] = -math.inf
    match[1, 0, 0] = math.nan
    tables = [match, scores(3, 4, 4)]
    weight, *found = products(
        lambda m, g: softdp.fsd_score(m, g, gamma=0.3), tables, [torch.ones_like(t) for t in tables],
        torch.ones(3, dtype=F64),
    )  # fmt: skip
    for product in found:
        assert (product[0] == 0).all() and product[1].isnan().all() and product[2].isfinite().all()
    assert weight[0] == 0 and weight[1].isnan()
    _, *alone = products(
        lambda m, g: softdp.fsd_score(m, g, gamma=0.3), [t[2:] for t in tables],
        [torch.ones_like(t[2:]) for t in tables], torch.ones(1, dtype=F64),
    )  # fmt: skip
    for a, b in zip(found, alone, strict=True):
        assert torch.equal(a[2:], b)


BOTH = {
    "fsd": lambda library, m, g: library.fsd_score(m, g, gamma=0.3),
    "lcs": lambda library, m, g: library.lcs_score(m + g, threshold=0.2, gamma=0.3),
    "soft-DTW": lambda library, m, g: library.soft_dtw(m + g, gamma=0.3),
    "Needleman-Wunsch": lambda library, m, g: library.needleman_wunsch(m, g[:, :1, :1], gamma=0.3),
}


@by_implementation
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


@pytest.mark.parametrize("has_kernel", [True, False], ids=["operators", "reference"])
@pytest.mark.parametrize("size", [(5, 6), (40, 50)], ids=str)
def test_alignments_of_good_pairs_train_beside_a_spoiled_one(size, has_kernel, monkeypatch):
    if not has_kernel:
        monkeypatch.setattr("softdp._devices.has_kernel", lambda device: False)
    for align in (
        lambda m, g: softdp.fsd_alignment(m, g, gamma=0.3),
        lambda m, g: softdp.lcs_alignment(m + g, threshold=0.2, gamma=0.3),
    ):
        match, gap = scores(3, *size), torch.zeros(1, 1, 1, dtype=F64, requires_grad=True)
        match[1, 2, 2] = math.nan
        match.requires_grad_()
        weight = scores(3, *size)
        E = align(match, gap)
        assert E[1].isnan().all()
        by_match, by_gap = torch.autograd.grad((weight * E)[[0, 2]].sum(), (match, gap))
        alone = match.detach()[[0, 2]].requires_grad_()
        wanted = torch.autograd.grad((weight[[0, 2]] * align(alone, gap)).sum(), (alone, gap))
        close(by_match[[0, 2]], wanted[0], 1e-10)
        close(by_gap, wanted[1], 1e-10)
        assert (by_match[1] == 0).all()
        by_match, _ = torch.autograd.grad(align(match, gap)[:2].sum(), (match, gap))
        assert by_match[1].isnan().all()


def test_no_cells():
    for size in ((2, 0, 3), (2, 3, 0), (0, 3, 3)):
        match, gap = torch.zeros(size, requires_grad=True), torch.zeros(1, 1, 1, requires_grad=True)
        (gradient,) = torch.autograd.grad(softdp.fsd_score(match, gap).sum(), match, create_graph=True)
        assert gradient.shape == size
        second, by_gap = torch.autograd.grad(gradient.sum(), (match, gap))
        assert second.shape == size and by_gap.tolist() == [[[0]]]


@pytest.mark.parametrize("name", ["fsd", "lcs"])
def test_gamma_0_has_no_curvature(name):
    tables = [scores(2, 6, 7)] + ([scores(2, 6, 7)] if name == "fsd" else [])
    options = {"gamma": 0.0} | ({"threshold": 0.3} if name == "lcs" else {})
    score = getattr(softdp, f"{name}_score")
    along, *found = products(
        lambda *t: score(*t, **options), tables, [torch.ones_like(t) for t in tables],
        torch.ones(2, dtype=F64),
    )  # fmt: skip
    assert all((p == 0).all() for p in found)
    leaves = [t.clone().requires_grad_() for t in tables]
    first = torch.autograd.grad(score(*leaves, **options).sum(), leaves)
    close(along, sum(g.sum((1, 2)) for g in first), 1e-12)


def test_float32_keeps_a_thousandth_of_the_largest_at_256_steps():
    for gamma, boundary in itertools.product((0.05, 0.1, 1.0), ("free", "anchored")):
        score = partial(softdp.fsd_score, gamma=gamma, boundary=boundary)
        tables = [scores(1, 256, 256, dtype=torch.float32) for _ in range(2)]
        directions = [torch.randn_like(t) for t in tables]
        found = products(score, tables, directions, torch.ones(1))
        exact = products(
            score, [t.double() for t in tables],
            [v.double() for v in directions], torch.ones(1, dtype=F64),
        )  # fmt: skip
        for a, b in zip(found, exact, strict=True):
            assert a.dtype == torch.float32
            assert (a - b).abs().max() <= 1e-3 * b.abs().max()
    similarity, direction = scores(1, 256, 256, dtype=torch.float32), torch.randn(1, 256, 256)
    options = {"gamma": 0.1, "threshold": 0.8}
    found = products(lambda c: softdp.lcs_score(c, **options), [similarity], [direction], torch.ones(1))
    exact = products(
        lambda c: softdp.lcs_score(c, **options), [similarity.double()], [direction.double()],
        torch.ones(1, dtype=F64),
    )  # fmt: skip
    for a, b in zip(found, exact, strict=True):
        assert (a - b).abs().max() <= 1e-3 * b.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_scores_get_half_second_derivatives(dtype):
    tables = [scores(2, 6, 5, dtype=torch.float32).to(dtype), scores(2, 6, 1, dtype=torch.float32).to(dtype)]
    directions = [torch.randn_like(t) for t in tables]
    score = lambda *t: softdp.fsd_score(*t, gamma=0.3)  # noqa: E731
    _, *found = products(score, tables, directions, torch.ones(2))
    _, *exact = products(
        score, [t.double() for t in tables], [v.double() for v in directions], torch.ones(2, dtype=F64)
    )
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == dtype
        assert (a - b).abs().max() <= 4 * torch.finfo(dtype).eps * b.abs().max()


@pytest.mark.parametrize("wanted", [w for w in itertools.product([True, False], repeat=3) if any(w)])
def test_only_what_is_asked_for(wanted):
    tables = [scores(2, 4, 5), scores(2, 4, 1), scores(4, 5)]
    direction = torch.randn(2, 4, 5, dtype=F64)
    found = []
    for library in (softdp, softdp.reference):
        given = [t.clone().requires_grad_(want) for t, want in zip(tables, wanted, strict=True)]
        leaves = [t for t in given if t.requires_grad]
        score = library.fsd_score(*given, gamma=0.4).square().sum()
        gradients = torch.autograd.grad(score, leaves, create_graph=True)
        found.append(torch.autograd.grad(sum((g * direction).sum() for g in gradients), leaves))
    for a, b in zip(*found, strict=True):
        close(a, b, 1e-9)


@pytest.mark.parametrize("name", ["fsd", "lcs"])
def test_the_third_derivative_is_an_error_and_no_silent_zero(name):
    match = scores(1, 3, 3).requires_grad_()
    options = {"insert": 0.0} if name == "fsd" else {"threshold": 0.5}
    score = getattr(softdp, f"{name}_score")
    (first,) = torch.autograd.grad(score(match, **options).sum(), match, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), match, create_graph=True)
    with pytest.raises(NotImplementedError, match="softdp.reference has derivatives of every order"):
        second.sum().backward()


def test_the_gradient_of_the_gradient_by_torch_func():
    match = scores(1, 3, 4)
    found = torch.func.jacrev(torch.func.grad(lambda m: softdp.fsd_score(m, 0.1, gamma=0.5).sum()))(match)
    expected = torch.autograd.functional.hessian(
        lambda m: softdp.reference.fsd_score(m, 0.1, gamma=0.5).sum(), match
    )
    close(found, expected, 1e-9)
