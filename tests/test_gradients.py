"""Derivatives against finite differences; the mass of paths; what float32 keeps, and at which scales."""

import math

import pytest
import torch
from helpers import by_implementation, close, score_and_gradients, scores

import softdp


def away_from(threshold: float, similarity: torch.Tensor) -> torch.Tensor:
    """Finite differences must not step over the LCS threshold."""
    near = (similarity - threshold).abs() < 1e-3
    return similarity + 0.01 * near


@by_implementation
@pytest.mark.parametrize("boundary", ["free", "anchored"])
@pytest.mark.parametrize("gamma", [0.05, 1.0, 100.0])
def test_fsd_gradcheck(library, gamma, boundary):
    tables = [scores(2, 4, 5).requires_grad_() for _ in range(3)]
    lengths = {"x_lengths": torch.tensor([4, 2]), "y_lengths": torch.tensor([5, 4])}
    assert torch.autograd.gradcheck(
        lambda *t: library.fsd_score(*t, gamma=gamma, boundary=boundary, **lengths), tables
    )


@by_implementation
@pytest.mark.parametrize("gamma", [0.05, 1.0, 100.0])
def test_lcs_gradcheck(library, gamma):
    similarity = away_from(0.3, scores(2, 4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: library.lcs_score(c, threshold=0.3, gamma=gamma, y_lengths=torch.tensor([5, 3])), similarity
    )


@pytest.mark.parametrize("shape", [(), (1, 1, 1), (1, 4, 1), (2, 1, 1), (1, 1, 5), (4, 5), (5,), (2, 4, 1)])
def test_gradcheck_of_broadcast_gaps(shape):
    match = scores(2, 4, 5).requires_grad_()
    insert, delete = scores(*shape).requires_grad_(), scores(1, 1, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.3), (match, insert, delete))
    assert torch.autograd.gradcheck(lambda *t: softdp.fsd_score(*t, gamma=0.3), (match, insert))


def test_reference_is_twice_differentiable():
    tables = [scores(1, 3, 3).requires_grad_() for _ in range(3)]
    assert torch.autograd.gradgradcheck(lambda *t: softdp.reference.fsd_score(*t, gamma=0.5), tables)
    c = away_from(0.3, scores(1, 3, 3)).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda c: softdp.reference.lcs_score(c, threshold=0.3, gamma=0.5), (c,)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 31, 33, 64, 100, 257, 1024])
def test_path_mass_is_one_at_both_ends(size, dtype):
    match = scores(1, size, size, dtype=dtype)
    gap = torch.zeros((), dtype=dtype)
    _, (mass, _) = score_and_gradients(softdp.fsd_score, (match, gap), gamma=0.1, boundary="anchored")
    slack = 1e-4 if dtype == torch.float32 else 1e-11
    assert mass[0, -1, -1].item() == 1
    assert mass[0, 0, 0].item() == pytest.approx(1, abs=slack)
    assert (mass >= 0).all() and (mass <= 1 + slack).all()


def test_float32_at_1024_steps_keeps_the_promised_accuracy():
    match = scores(1, 1024, 1024, dtype=torch.float32)
    gap = torch.zeros(())
    value, (mass, _) = score_and_gradients(softdp.fsd_score, (match, gap), gamma=0.1)
    exact, (exact_mass, _) = score_and_gradients(softdp.fsd_score, (match.double(), gap.double()), gamma=0.1)
    assert abs(value.item() / exact.item() - 1) < 1e-6
    assert (mass - exact_mass).abs().max() < 1e-4


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
def test_rounding_does_not_add_up_along_a_path(match, gap):
    _, (mass,) = score_and_gradients(lambda m: softdp.fsd_score(m, gap, boundary="anchored"), (match,))
    _, (exact,) = score_and_gradients(
        lambda m: softdp.fsd_score(m, gap, boundary="anchored"), (match.double(),)
    )
    assert (mass - exact).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("gamma", [1e-4, 1e-2, 1.0, 1e3])
def test_float32_over_gammas_and_scales(gamma, scale):
    """Against the reference in float64; the scores are few, so that ties of paths stay well apart."""
    match, insert, delete = (scale * scores(2, 40, 30, dtype=torch.float32) for _ in range(3))
    tables = (match, insert, delete)
    value, gradients = score_and_gradients(softdp.fsd_score, tables, gamma=gamma)
    exact, exact_gradients = score_and_gradients(
        softdp.reference.fsd_score, [t.double() for t in tables], gamma=gamma
    )
    close(value, exact, 1e-5)
    for found, wanted in zip(gradients, exact_gradients, strict=True):
        assert (found - wanted).abs().max() < 1e-3


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 10.0])
def test_long_chains_neither_overflow_nor_vanish(gamma):
    """16384 steps along one row, one column, and one diagonal that a mask leaves open."""
    long = 16384
    row = scores(1, 1, long, dtype=torch.float32) * 100
    for table in (row, row.transpose(1, 2)):
        value, (mass, _) = score_and_gradients(
            softdp.fsd_score, (table, torch.zeros(())), gamma=gamma, boundary="anchored"
        )
        assert value.item() == pytest.approx(row.double().sum().item(), rel=1e-5, abs=1e-3)
        assert (mass - 1).abs().max() < 1e-3
    diagonal = torch.full((1, 2048, 2048), -math.inf)
    diagonal[0].fill_diagonal_(0.49)
    value, (mass, _) = score_and_gradients(softdp.fsd_score, (diagonal, torch.zeros(())), gamma=gamma)
    assert value.item() == pytest.approx(0.49 * 2048 + gamma * math.log(3), rel=1e-5)
    assert torch.equal(mass[0], torch.eye(2048))


def test_forbidden_cells_get_no_gradient():
    match = scores(2, 30, 40, dtype=torch.float32)
    forbidden = torch.rand(2, 30, 40) < 0.3
    forbidden &= (torch.arange(40) - torch.arange(30)[:, None] - 5).abs() > 5  # a path stays open
    match = match.masked_fill(forbidden, -math.inf)
    value, (mass, d_gap) = score_and_gradients(softdp.fsd_score, (match, torch.zeros(1, 30, 40)))
    assert value.isfinite().all()
    assert (mass[forbidden] == 0).all() and d_gap.isfinite().all()


@by_implementation
def test_a_forbidden_move_is_never_taken(library):
    match = scores(1, 6, 6)
    never = torch.full((), -math.inf, dtype=torch.float64)
    value, (mass, *_) = score_and_gradients(library.fsd_score, (match, never, never), boundary="anchored")
    close(value, match[0].diagonal().sum().reshape(1), 1e-12)
    close(mass[0], torch.eye(6), 1e-12)


@by_implementation
@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_a_pair_without_a_path_scores_minus_infinity_with_no_gradient(library, gamma):
    match = scores(2, 3, 4)
    match[0, :, 2] = -math.inf
    value, (mass, _) = score_and_gradients(
        library.fsd_score, (match, scores(1, 3, 4)), gamma=gamma, boundary="anchored"
    )
    assert value[0] == -math.inf and value[1].isfinite()
    assert (mass[0] == 0).all() and mass[1, -1, -1] == 1


@by_implementation
@pytest.mark.parametrize("gamma", [0.0, 0.1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["match", "insert", "delete"])
def test_nan_and_inf_spoil_their_own_pair_only(library, where, bad, gamma):
    tables = {name: scores(3, 4, 5) for name in ("match", "insert", "delete")}
    tables[where][1, 2, 3] = bad
    value, gradients = score_and_gradients(library.fsd_score, tuple(tables.values()), gamma=gamma)
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    for gradient in gradients:
        assert gradient[1].isnan().all() and gradient[[0, 2]].isfinite().all()


@by_implementation
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_spoil_their_own_lcs(library, bad):
    c = scores(3, 4, 5)
    c[1, 0, 4] = bad  # beside a hit's path, so that no plateau would carry it on
    value, (gradient,) = score_and_gradients(library.lcs_score, (c,), threshold=-2.0)
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    assert gradient[1].isnan().all() and gradient[[0, 2]].isfinite().all()


# Scores of a table (B, N, M) and gaps that broadcast to it, of both libraries.
OF_TABLES = {
    "fsd": lambda library, c, gap, **kw: library.fsd_score(c, gap, **kw),
    "fsd, two gaps": lambda library, c, gap, **kw: library.fsd_score(c, gap, 0.5 * gap, **kw),
    "anchored": lambda library, c, gap, **kw: library.fsd_score(c, gap, boundary="anchored", **kw),
    "lcs": lambda library, c, gap, **kw: library.lcs_score(c + gap, threshold=0.2, **kw),
    "soft-DTW": lambda library, c, gap, **kw: library.soft_dtw(c + gap, **kw),
    "Needleman-Wunsch": lambda library, c, gap, **kw: library.needleman_wunsch(
        c, gap.expand(len(c), *gap.shape[1:])[:, :1, :1], **kw
    ),
}


@by_implementation
@pytest.mark.parametrize("name", OF_TABLES)
@pytest.mark.parametrize("gamma", [0.0, 0.1])
@pytest.mark.parametrize("gap", [(1, 1, 1), (4, 1, 1), (1, 5, 6), (1, 5, 1), (4, 5, 6)], ids=str)
def test_a_spoiled_pair_that_receives_the_gradient_0_gets_it(library, name, gamma, gap):
    """s[good].sum() trains on the good pairs, and what all pairs share with them."""
    bad, good = [1, 3], [0, 2]
    # Needleman-Wunsch raises what is too low to be matched: such a cell has the gradient 0.
    nan_of = (lambda t: t.isnan().any()) if name == "Needleman-Wunsch" else (lambda t: t.isnan().all())
    c, gaps = scores(4, 5, 6), scores(*gap)
    c[1, 2, 3], c[3, 4, 5] = math.nan, -math.inf if name == "soft-DTW" else math.inf
    c.requires_grad_(), gaps.requires_grad_()
    value = OF_TABLES[name](library, c, gaps, gamma=gamma)
    assert value[bad].isnan().all() and value[good].isfinite().all()
    by_good = torch.autograd.grad(value[good].sum(), (c, gaps), retain_graph=True)
    only_good = OF_TABLES[name](library, c[good], gaps if gap[0] == 1 else gaps[good], gamma=gamma)
    for found, wanted in zip(by_good, torch.autograd.grad(only_good.sum(), (c, gaps)), strict=True):
        close(found, wanted, 1e-12)  # 0 for the bad pairs, which were left out here
        assert found.isfinite().all()
    for zero in (0.0, -0.0):
        weight = torch.tensor([0.5, zero, -2.0, 1.0], dtype=torch.float64)
        by_c, _ = torch.autograd.grad(value, (c, gaps), weight, retain_graph=True)
        assert (by_c[1] == 0).all() and by_c[good].isfinite().all() and nan_of(by_c[3])
    by_c, by_gaps = torch.autograd.grad(value.sum(), (c, gaps))
    assert nan_of(by_c[bad]) and by_c[good].isfinite().all()
    assert by_gaps.isnan().any()


@by_implementation
@pytest.mark.parametrize("name", OF_TABLES)
def test_a_spoiled_pair_within_its_lengths(library, name):
    c, gap = scores(3, 5, 6), torch.tensor(-0.2).double().view(1, 1, 1)
    c[1, 1, 1] = math.nan
    lengths = {"x_lengths": torch.tensor([5, 3, 5]), "y_lengths": torch.tensor([6, 2, 4])}
    for weight, is_right in ((0.0, lambda g: g == 0), (1e-300, lambda g: g.isnan())):
        leaf = c.clone().requires_grad_()
        value = OF_TABLES[name](library, leaf, gap, gamma=0.1, **lengths)
        value.backward(torch.tensor([1.0, weight, 1.0], dtype=torch.float64))
        assert is_right(leaf.grad[1, :3, :2]).all()
        assert (leaf.grad[1, 3:] == 0).all() and (leaf.grad[1, :, 2:] == 0).all()
        assert leaf.grad[[0, 2]].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e6, 1e8, 1e12, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_beyond_the_arithmetic_are_right_or_nan(sign, size, dtype):
    """At gamma 0.1; 1e6 is within the range. What lies below -2^50 gamma log(2) counts as -inf."""
    match = (sign * size * (1 + torch.rand(1, 5, 5, dtype=torch.float64))).to(dtype)
    value, (mass, _) = score_and_gradients(
        softdp.fsd_score, (match, torch.zeros((), dtype=dtype)), boundary="anchored"
    )
    exact, (exact_mass, _) = score_and_gradients(
        softdp.reference.fsd_score, (match.double(), torch.zeros(()).double()), boundary="anchored"
    )
    if size == 1e6:
        assert value.isfinite()
    if value.isnan():
        assert mass.isnan().all()
    elif value == -math.inf:
        assert sign * size * math.log2(math.e) / 0.1 < -(2**50) / 2 and (mass == 0).all()
    else:
        close(value, exact, 1e-6)
        assert (mass - exact_mass).abs().max() < 1e-4


@pytest.mark.parametrize("gamma", [1e-310, 1e-30, 1e30, 1e307])
def test_extreme_gammas(gamma):
    assert softdp.fsd_score(torch.zeros(1, 0, 3), 0.0, gamma=gamma).item() == 0
    match = scores(1, 3, 3)
    value = softdp.fsd_score(match, 0.0, gamma=gamma, boundary="anchored")
    hard = softdp.fsd_score(match, 0.0, gamma=0.0, boundary="anchored").item()
    expected = hard if gamma < 1 else gamma * math.log(13)  # so smooth that only the paths count
    assert value.isnan().item() or value.item() == pytest.approx(expected, rel=1e-9)
    assert gamma < 1 or value.isfinite()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_number_is_not_rounded_to_a_half_type(half):
    match = torch.zeros(1, 1000, 1, dtype=half)
    for gap, expected in ((-0.1, -99.9), (-1e5, -99.9e6)):
        value = softdp.fsd_score(match, gap, gamma=0.0, boundary="anchored")
        assert value.item() == pytest.approx(expected, rel=1e-6)
