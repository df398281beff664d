"""The CUDA kernels' sources, run on the CPU: ties, masks, and numbers that spoil a pair."""

import math

import pytest
import torch
from helpers import close, scores
from kernel_checks import F32, GAMMA, REGIMES, SCHEDULES, check, gap_of, one_thread, pairs, run, tables_of  # noqa: F401


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
    only, off = found.gradients[0][0], ~torch.eye(size[0], dtype=torch.bool)
    # A tiny pair's is a quotient of sums over paths, which are rounded where there is one path, too.
    close(only, torch.eye(size[0]), 2e-6 if max(size) <= 32 and gamma > 0 else 0.0)
    assert (only[off] == 0).all()
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
