"""Derivatives against finite differences; the mass of paths; what float32 keeps, and at which scales."""

import math

import pytest
import torch
from devices import both_boundaries, exactly, is_gpu, to
from helpers import close, score_and_gradients, scores

import softdp


def away_from(threshold: float, similarity: torch.Tensor) -> torch.Tensor:
    """Finite differences must not step over the LCS threshold."""
    near = (similarity - threshold).abs() < 1e-3
    return similarity + 0.01 * near


@both_boundaries
@pytest.mark.parametrize("gamma", [0.05, 1.0, 100.0])
def test_fsd_gradcheck(library, gamma, boundary):
    tables = [scores(2, 4, 5).requires_grad_() for _ in range(3)]
    lengths = {"x_lengths": torch.tensor([4, 2]), "y_lengths": torch.tensor([5, 4])}
    assert torch.autograd.gradcheck(
        lambda *t: library.fsd_score(*t, gamma=gamma, boundary=boundary, **lengths), tables
    )


@pytest.mark.parametrize("gamma", [0.05, 1.0, 100.0])
def test_lcs_gradcheck(library, gamma):
    similarity = away_from(0.3, scores(2, 4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: library.lcs_score(c, threshold=0.3, gamma=gamma, y_lengths=torch.tensor([5, 3])), similarity
    )


@pytest.mark.parametrize("shape", [(), (1, 1, 1), (1, 4, 1), (2, 1, 1), (1, 1, 5), (4, 5), (5,), (2, 4, 1)])
def test_gradcheck_of_broadcast_gaps(shape, device):
    match = scores(2, 4, 5).to(device).requires_grad_()
    insert, delete = (scores(*s).to(device).requires_grad_() for s in (shape, (1, 1, 5)))
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.3), (match, insert, delete))
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.3), (match, insert))


def test_gradcheck_past_a_tile(device):
    match = scores(1, 34, 33).to(device).requires_grad_()
    gaps = scores(1, 34, 1).to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.5), (match, gaps))


def test_reference_is_twice_differentiable():
    tables = [scores(1, 3, 3).requires_grad_() for _ in range(3)]
    assert torch.autograd.gradgradcheck(lambda *t: softdp.reference.fsd_score(*t, gamma=0.5), tables)
    c = away_from(0.3, scores(1, 3, 3)).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda c: softdp.reference.lcs_score(c, threshold=0.3, gamma=0.5), (c,)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 5, 15, 16, 17, 30, 31, 32, 33, 64, 100, 127, 128, 129, 257, 1024])
def test_path_mass_is_one_at_both_ends(size, dtype, device):
    match = scores(1, size, size, dtype=dtype).to(device)
    gap = torch.zeros((), dtype=dtype, device=device)
    _, (mass, _) = score_and_gradients(softdp.fsd_score, (match, gap), gamma=0.1, boundary="anchored")
    slack = 1e-4 if dtype == torch.float32 else 1e-10 if is_gpu(device) else 1e-11
    assert mass[0, -1, -1].item() == 1
    assert mass[0, 0, 0].item() == pytest.approx(1, abs=slack)
    assert (mass >= 0).all() and (mass <= 1 + slack).all()


def test_float32_at_1024_steps_keeps_the_promised_accuracy(device):
    match = scores(1, 1024, 1024, dtype=torch.float32)
    for gaps in (torch.zeros(()), scores(1, 1024, 1024, dtype=torch.float32)):
        tables = [match, gaps]
        value, (mass, _) = score_and_gradients(softdp.fsd_score, [to(device, t) for t in tables])
        exact, (wanted, _) = score_and_gradients(softdp.fsd_score, [t.double() for t in tables])
        assert abs(value.item() / exact.item() - 1) < 1e-6
        worst = (mass.cpu() - wanted).abs().max()
        assert worst < 1e-4 and not worst.isnan()


def recurring():
    """Inputs in which one small weight recurs on a long path, where rounding could add up."""
    for N in (1024, 16384):
        match = torch.zeros(1, N, 2)
        match[0, 0, 1] = 0.1 * math.log(2 / 7e-6)
        yield match, 0.0
    for turns, gap in ((20, -1.0), (40, -1.0), (5, -0.9)):
        t = torch.linspace(0, turns, 1024)
        circle = torch.stack([t.sin(), t.cos()], 1)
        yield (circle @ circle.T)[None], gap


@pytest.mark.parametrize("match, gap", list(recurring()))
def test_rounding_does_not_add_up_along_a_path(match, gap, device):
    def score(m):
        return softdp.fsd_score(m, gap, boundary="anchored")

    _, (mass,) = score_and_gradients(score, (to(device, match),))
    _, (exact,) = score_and_gradients(score, (match.double(),))
    worst = (mass.cpu() - exact).abs().max()
    assert worst < (1e-3 if is_gpu(device) and match.shape[1] == 16384 else 1e-4) and not worst.isnan()


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("gamma", [1e-4, 1e-2, 1.0, 10.0, 1e3])
def test_float32_over_gammas_and_scales(gamma, scale, device):
    """The scores are few, so that ties of paths stay well apart."""
    tables = [scale * scores(2, 40, 30, dtype=torch.float32) for _ in range(3)]
    value, gradients = score_and_gradients(softdp.fsd_score, [to(device, t) for t in tables], gamma=gamma)
    exact, wanted = exactly(softdp.fsd_score, tables, device, gamma=gamma)
    close(value.cpu(), exact, 1e-5)
    for a, b in zip(gradients, wanted, strict=True):
        assert (a.cpu() - b).abs().max() < 1e-3


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 10.0])
def test_long_chains_neither_overflow_nor_vanish(gamma, device):
    """16384 steps along one row, one column, and one diagonal that a mask leaves open."""
    long = 16384
    row = scores(1, 1, long, dtype=torch.float32).to(device) * 100
    zero = torch.zeros((), device=device)
    for table in (row, row.transpose(1, 2)):
        value, (mass, _) = score_and_gradients(
            softdp.fsd_score, (table, zero), gamma=gamma, boundary="anchored"
        )
        assert value.item() == pytest.approx(row.double().sum().item(), rel=1e-5, abs=1e-3)
        assert (mass - 1).abs().max() < 1e-3
    diagonal = torch.full((1, 2048, 2048), -math.inf, device=device)
    diagonal[0].fill_diagonal_(0.49)
    value, (mass, _) = score_and_gradients(softdp.fsd_score, (diagonal, zero), gamma=gamma)
    assert value.item() == pytest.approx(0.49 * 2048 + gamma * math.log(3), rel=1e-5)
    assert torch.equal(mass[0], torch.eye(2048, device=device))


def anchored(match):
    return softdp.fsd_score(match, 0.0, boundary="anchored")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e5, 1e6, 1e8, 1e12, 1e30])
@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_beyond_the_arithmetic_are_right_or_nan(sign, size, scale, dtype, device):
    """At gamma 0.1. In range are, on a GPU, in float32 scores up to 2.9e6 gamma; on the CPU 1e6 is too.

    On the CPU what lies below -2^50 gamma log(2) counts as -inf.
    """
    match = (sign * scale * (1 + torch.rand(1, size, size, dtype=torch.float64))).to(dtype)
    value, (mass,) = score_and_gradients(anchored, (to(device, match),))
    if scale == 1e5 or (scale == 1e6 and not is_gpu(device)):
        assert value.isfinite()
    if value == -math.inf and not is_gpu(device):
        assert sign * scale * math.log2(math.e) / 0.1 < -(2**50) / 2 and (mass == 0).all()
    else:
        right_or_nan(value, mass, exactly(anchored, (match,), device))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_long_sum_of_large_scores_is_right_or_nan(sign, device):
    """Every score fits; their sum is past what an int32 exponent holds."""
    match = torch.full((1, 3000, 3), sign * 2e5)
    value, (mass,) = score_and_gradients(anchored, (to(device, match),))
    right_or_nan(value, mass, score_and_gradients(anchored, (match.double(),)))
    assert is_gpu(device) or value.isfinite()


def right_or_nan(value, mass, exact):
    if value.isnan():
        assert mass.isnan().all()
    else:
        close(value.cpu(), exact[0], 1e-6)
        close(mass.cpu(), exact[1][0], 1e-3 if is_gpu(mass.device) else 1e-4)


@pytest.mark.parametrize("gamma", [1e-310, 1e-30, 1e30, 1e307])
def test_extreme_gammas(gamma, device):
    assert softdp.fsd_score(torch.zeros(1, 0, 3, device=device), 0.0, gamma=gamma).item() == 0
    match = scores(1, 3, 3).to(device)
    value = softdp.fsd_score(match, 0.0, gamma=gamma, boundary="anchored")
    hard = softdp.fsd_score(match, 0.0, gamma=0.0, boundary="anchored").item()
    expected = hard if gamma < 1 else gamma * math.log(13)  # so smooth that only the paths count
    assert value.isnan().item() or value.item() == pytest.approx(expected, rel=1e-9)
    assert gamma < 1 or is_gpu(device) or value.isfinite()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_number_is_not_rounded_to_a_half_type(half, device):
    match = torch.zeros(1, 1000, 1, dtype=half, device=device)
    for gap, expected in ((-0.1, -99.9), (-1e5, -99.9e6)):
        value = softdp.fsd_score(match, gap, gamma=0.0, boundary="anchored")
        assert value.item() == pytest.approx(expected, rel=1e-6)
