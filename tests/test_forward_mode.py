"""Forward mode: tangents of scores, alignments and losses, and Hessians by every way that PyTorch has."""

import math

import pytest
import torch
from devices import HALF, SCORES, each, to
from helpers import close, scores

import softdp

F64 = torch.float64
forward_ad = torch.autograd.forward_ad


class Reference:
    """softdp.reference in softdp's place: scores by it are differentiated by PyTorch."""

    SCORES = {
        "fsd": lambda match, gap, **lengths: softdp.reference.fsd_score(match, gap, gamma=0.2, **lengths),
        "anchored": lambda match, gap, **lengths: softdp.reference.fsd_score(
            match, gap, boundary="anchored", **lengths
        ),
        "lcs": lambda match, gap, **lengths: softdp.reference.lcs_score(
            match + gap, threshold=0.4, gamma=0.2, **lengths
        ),
        "needleman_wunsch": lambda match, gap, **lengths: softdp.reference.needleman_wunsch(
            match, gap, gamma=0.2, **lengths
        ),
    }


def problem(device, B=2, N=3, M=4, dtype=F64):
    """Scores, a gap for each row, and a direction of each."""
    tables = scores(B, N, M, dtype=dtype), scores(1, N, 1, dtype=dtype)
    return tuple(to(device, t) for t in (*tables, *map(torch.randn_like, tables)))


def total(name, library=SCORES):
    return lambda *tables: library[name](*tables).square().sum()


@each
@pytest.mark.parametrize("size", [(2, 4, 5), (2, 35, 40)], ids=["small", "bands"])
@pytest.mark.parametrize("tables", [1, 2], ids=["match", "match-gap"])
def test_the_tangent_is_that_of_the_reference(name, size, tables, device):
    match, gap, *directions = problem(device, *size)
    lengths = {"x_lengths": torch.tensor([size[1], 2]), "y_lengths": torch.tensor([3, size[2]])}

    def along(library, *given):
        def score(*t):
            return library[name](*t, *given[tables:2], **lengths)

        return torch.func.jvp(score, given[:tables], given[2 : 2 + tables])

    given = match, gap, *directions
    found, expected = along(SCORES, *given), along(Reference.SCORES, *(t.cpu() for t in given))
    for a, b in zip(found, expected, strict=True):
        close(a.cpu(), b, 1e-9)


@each
def test_dual_tensors_have_the_tangent_of_torch_func(name, device):
    match, gap, v, _ = problem(device)
    _, expected = torch.func.jvp(lambda m: SCORES[name](m, gap), (match,), (v,))
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), forward_ad.dual_level():
            score = SCORES[name](forward_ad.make_dual(match, v), gap)
            close(forward_ad.unpack_dual(score).tangent, expected, 1e-14)
            constant = SCORES[name](match, gap)
            assert forward_ad.unpack_dual(constant).tangent is None


@pytest.mark.parametrize("dtype", HALF)
def test_half_scores_have_a_tangent_in_float32(dtype, device):
    match, gap, v, _ = problem(device, dtype=dtype)
    tangents = [
        torch.func.jvp(
            lambda m, g: softdp.fsd_score(m, g, gamma=0.5),
            (match.to(t), gap.to(t)),
            (v.to(t),) + (gap.to(t),),
        )[1]
        for t in (dtype, torch.float32)
    ]
    assert tangents[0].dtype == torch.float32
    close(*tangents, 1e-5)


@each
def test_every_way_to_a_hessian_gives_the_reference(name, device):
    match, gap, v, v_gap = problem(device)
    place = match.cpu(), gap.cpu()
    expected = torch.autograd.functional.hessian(total(name, Reference.SCORES), place)
    func = torch.func
    ways = {
        "hessian": func.hessian(total(name), (0, 1)),
        "reverse over forward": func.jacrev(func.jacfwd(total(name), (0, 1)), (0, 1)),
        "forward over forward": func.jacfwd(func.jacfwd(total(name), (0, 1)), (0, 1)),
        "reverse over reverse": func.jacrev(func.jacrev(total(name), (0, 1)), (0, 1)),
    }
    for way in ways.values():
        found = way(match, gap)
        for row, expected_row in zip(found, expected, strict=True):
            for a, b in zip(row, expected_row, strict=True):
                close(a.cpu(), b, 1e-9)
    directions = v, v_gap
    by_reference = torch.autograd.functional.hvp(
        total(name, Reference.SCORES), place, tuple(t.cpu() for t in directions)
    )[1]
    by_forward = func.jvp(func.grad(total(name), (0, 1)), (match, gap), directions)[1]
    for product in (
        torch.autograd.functional.hvp(total(name), (match, gap), directions)[1],
        torch.autograd.functional.vhp(total(name), (match, gap), directions)[1],
        by_forward,
    ):
        for a, b in zip(product, by_reference, strict=True):
            close(a.cpu(), b, 1e-9)


@each
def test_vmap_over_directions(name, device):
    match, gap, v, _ = problem(device)
    directions = torch.stack([v, -v, v.roll(1, 2)])

    def along(v):
        return torch.func.jvp(lambda m: SCORES[name](m, gap), (match,), (v,))[1]

    close(torch.func.vmap(along)(directions), torch.stack([along(v) for v in directions]), 1e-14)


@pytest.mark.parametrize("alignment", ["fsd", "lcs", "soft_dtw", "needleman_wunsch"])
def test_alignments_have_a_tangent(alignment, device):
    match, _, v, _ = problem(device)
    take = {
        "fsd": lambda m: softdp.fsd_alignment(m, -0.2, gamma=0.3),
        "lcs": lambda m: softdp.lcs_alignment(m, threshold=0.2, gamma=0.3),
        "soft_dtw": lambda m: softdp.soft_dtw_alignment(m, gamma=0.3, boundary="subsequence"),
        "needleman_wunsch": lambda m: softdp.needleman_wunsch_alignment(m, -0.2, gamma=0.3),
    }[alignment]
    _, along = torch.func.jvp(take, (match,), (v,))
    leaf = match.clone().requires_grad_()
    (product,) = torch.autograd.grad(take(leaf), leaf, v)  # the Hessian is symmetric
    close(along, product, 1e-12)


@each
def test_a_spoiled_pair_has_the_tangent_nan_and_one_without_a_path_0(name, device):
    match, gap, v, _ = problem(device, B=4)
    match[0, 1, 1], match[1], match[2, 0, 0] = math.nan, -math.inf, math.inf
    v[2] = 0
    _, tangent = torch.func.jvp(lambda m: SCORES[name](m, gap), (match,), (v,))
    assert tangent[0].isnan() and tangent[2] == 0 and tangent[3].isfinite() and tangent[3] != 0
    if name in ("fsd", "anchored"):
        assert tangent[1] == 0


def test_gamma_0_has_a_tangent_and_no_curvature(device):
    match, gap, v, _ = problem(device)

    def score(m):
        return softdp.fsd_score(m, gap, gamma=0.0).sum()

    _, along = torch.func.jvp(score, (match,), (v,))
    close(along, (torch.func.grad(score)(match) * v).sum(), 1e-14)
    assert (torch.func.hessian(score)(match) == 0).all()


@each
def test_third_derivatives_are_an_error_forward_too(name, device):
    match, gap, v, _ = problem(device)
    hessian = torch.func.hessian(total(name))
    for third in (
        lambda: torch.func.jvp(lambda m: hessian(m, gap), (match,), (v,)),
        lambda: torch.func.jacrev(lambda m: hessian(m, gap))(match),
    ):
        with pytest.raises(NotImplementedError, match="third derivatives of this score"):
            third()


@each
@pytest.mark.parametrize("way", ["jvp of grad", "hessian", "vmap of jvp"])
def test_plain_autograd_of_a_second_derivative_by_torch_func_is_an_error(name, way, device):
    """It would be a third derivative. Where it is not an error it would lack it without a word."""
    match, gap, v, _ = problem(device)
    leaf, func = match.clone().requires_grad_(), torch.func
    f = total(name)
    second = {
        "jvp of grad": lambda: func.jvp(func.grad(f), (leaf, gap), (v, 0 * gap))[1],
        "hessian": lambda: func.hessian(f)(leaf, gap),
        "vmap of jvp": lambda: func.vmap(
            lambda d: func.jvp(lambda m: func.grad(f)(m, gap), (leaf,), (d,))[1]
        )(torch.stack([v, -v])),
    }[way]()
    with pytest.raises(NotImplementedError, match="third derivatives of this score"):
        torch.autograd.grad(second.square().sum(), leaf)


@each
def test_reverse_over_forward_of_dual_tensors(name, device):
    match, gap, v, _ = problem(device)
    leaf = match.clone().requires_grad_()
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(SCORES[name](forward_ad.make_dual(leaf, v), gap)).tangent.sum()
    (found,) = torch.autograd.grad(tangent, leaf)
    score = SCORES[name](leaf, gap).sum()
    (first,) = torch.autograd.grad(score, leaf, create_graph=True)
    (expected,) = torch.autograd.grad((first * v).sum(), leaf)
    close(found, expected, 1e-12)


# ---- from features -------------------------------------------------------------------------------

TARGET = torch.tensor([True, False])
LOSSES = {
    "fsd_loss": lambda x, y: softdp.fsd_loss(x, y, TARGET.to(x.device)),
    "lcs_loss": lambda x, y: softdp.lcs_loss(x, y, TARGET.to(x.device), threshold=0.2),
    "soft_dtw_divergence": lambda x, y: softdp.soft_dtw_divergence(x, y).sum(),
    "pairwise_fsd": lambda x, y: softdp.pairwise_fsd(x, y).sum(),
    "pairwise_lcs": lambda x, y: softdp.pairwise_lcs(x, y, threshold=0.2).sum(),
    "pairwise_soft_dtw": lambda x, y: softdp.pairwise_soft_dtw(x, y).sum(),
    "with itself": lambda x, y: softdp.pairwise_soft_dtw(x).sum() + y.sum(),
    **{
        cost: lambda x, y, cost=cost: softdp.soft_dtw_loss(x, y, cost=cost)
        for cost in ("squared_euclidean", "euclidean", "manhattan", "cosine")
    },
    **{
        f"subsequence, {cost}": lambda x, y, cost=cost: softdp.soft_dtw_loss(
            x, y, cost=cost, boundary="subsequence"
        )
        for cost in ("squared_euclidean", "manhattan")
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_tangents_and_hessians(name, device):
    x, y, v, w = (to(device, torch.randn(2, steps, 4, dtype=F64)) for steps in (3, 4, 3, 4))
    loss = LOSSES[name]
    gradients = torch.func.grad(loss, (0, 1))(x, y)
    value, along = torch.func.jvp(loss, (x, y), (v, w))
    close(value, loss(x, y), 1e-10)
    close(along, sum((g * d).sum() for g, d in zip(gradients, (v, w), strict=True)), 1e-10)
    hessian = torch.autograd.functional.hessian(lambda x: loss(x, y), x)
    for way in (
        torch.func.hessian(loss),
        torch.func.jacrev(torch.func.jacfwd(loss)),
    ):
        close(way(x, y), hessian, 1e-10)
    product = (hessian * v).sum((3, 4, 5))
    close(torch.autograd.functional.hvp(lambda x: loss(x, y), x, v)[1], product, 1e-10)
    close(torch.func.jvp(torch.func.grad(loss), (x, y), (v, 0 * y))[1], product, 1e-10)
