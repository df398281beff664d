"""The CUDA kernels' sources, run on the CPU: accuracy, and scores up to the end of the range."""

import math

import numpy as np
import pytest
import torch
from helpers import close, scores
from kernel_checks import F32, GAMMA, SCHEDULES, exactly, one_thread, pairs, run, tables_of  # noqa: F401
from test_gradients import recurring
from test_kept_weights import ONE, addends, halves, tables, weights_of

import softdp

LOG2E = math.log2(math.e)


@pytest.mark.parametrize("size", [1, 2, 8, 9, 16, 17, 31, 32, 33, 64, 100, 128, 129, 257, 1024])
def test_path_mass_is_one_at_both_ends(size):
    inputs = (scores(1, size, size, dtype=F32), torch.zeros(1, 1, 1), None)
    for schedule in SCHEDULES if size < 1024 else SCHEDULES[:1]:
        mass = run("fsd", inputs, [schedule], gamma=GAMMA, boundary="anchored").gradients[0]
        assert mass[0, -1, -1].item() == 1
        assert mass[0, 0, 0].item() == pytest.approx(1, abs=1e-4)
        assert (mass >= 0).all() and (mass <= 1 + 1e-4).all()


@pytest.mark.parametrize(
    "kind, size, gamma",
    [(kind, 1024, gamma) for kind in ("random", "walk", "same") for gamma in (0.1, 1.0)]
    + [("walk", 4096, 0.1), ("drift", 1024, 0.1), ("drift", 4096, 0.1)],
)
def test_long_sequences_keep_the_promised_accuracy(kind, size, gamma):
    match, gap = (torch.from_numpy(table).to(F32)[None] for table in tables(kind, size))
    inputs = (match, gap, None)
    found = run("fsd", inputs, SCHEDULES[:1], gamma=gamma, needs=(True, False, False))
    exact = match.double().requires_grad_()
    score = softdp.fsd_score(exact, gap.double(), gamma=gamma)
    score.sum().backward()
    close(found.score.double(), score.detach(), 1e-6)
    assert (found.gradients[0] - exact.grad).abs().max() < 1e-4


@pytest.mark.parametrize("size", [(40, 33), (150, 70)], ids=str)
def test_weights_are_kept_in_16_bits_each(size):
    match, insert, delete = (table.to(F32) for table in tables_of(1, *size))
    found = run("fsd", (match, insert, delete), SCHEDULES[:1], gamma=GAMMA)
    words = found.saved.view(size).numpy().view(np.uint32)  # one number a cell
    weights = weights_of(*(table[0].double().numpy() for table in (match, insert, delete)), GAMMA)
    diagonal = np.add.outer(*map(np.arange, size))
    *numbers, one = halves(*weights[1:], addends(diagonal))
    fine = (words & 0x80008000) == 0x8000
    assert (fine == (one > ONE)).all() and fine.any() and not fine.all()
    for half, exact in zip((words & (ONE >> fine), words >> 16), numbers, strict=True):
        assert abs(half - exact).max() <= 1  # float32 errs by 0.01 units
        assert (half != exact).mean() < 0.01


@pytest.mark.parametrize("table", [0, 1, 2])
def test_a_forbidden_move_has_a_gradient_of_exactly_0(table):
    size = (150, 70)
    inputs = list(tables_of(2, *size))
    forbidden = torch.rand(2, *size) < 0.3
    forbidden[:, -1, -1] = False
    inputs[table] = inputs[table].masked_fill(forbidden, -math.inf)
    gradients = run("fsd", inputs, SCHEDULES[:1], gamma=GAMMA).gradients
    assert (gradients[table][forbidden] == 0).all()
    assert all(g.isfinite().all() and (g >= 0).all() for g in gradients)


def test_where_only_gaps_are_allowed_their_weights_are_all_of_a_cell():
    """Insert and delete are then added in two ways. Where these differ by a rounding, match has weight 0."""
    size = (320, 600)
    inputs = [0.2 * t for t in tables_of(1, *size)]
    forbidden = torch.rand(1, *size) < 0.98
    forbidden[:, -1, -1] = False
    inputs[0] = inputs[0].masked_fill(forbidden, -math.inf)
    gradients = run("needleman_wunsch", inputs, SCHEDULES[:1], gamma=GAMMA).gradients
    assert (gradients[0][forbidden] == 0).all()


def a_path(rows, columns):
    """Cells and the moves to them, so many of each that the path stays near the table's diagonal. An insert
    and a delete have a match between them: else a match would pass by the corner."""
    i = j = 0
    cells, move = [(0, 0, 0)], 0
    while (i, j) != (rows - 1, columns - 1):
        far = (i + 1) * columns - (j + 1) * rows
        wanted = 2 if far > 2 * columns else 1 if far < -2 * rows else int(torch.randint(3, ()))
        wanted = 2 if i == rows - 1 else 1 if j == columns - 1 else wanted
        move = 0 if {move, wanted} == {1, 2} and i < rows - 1 and j < columns - 1 else wanted
        i, j = i + (move != 2), j + (move != 1)
        cells.append((i, j, move))
    return cells


@pytest.mark.parametrize("size", [(70, 50), (150, 170)], ids=str)
def test_a_cell_with_one_possible_move_hands_on_everything(size):
    wanted = torch.zeros(3, 1, *size)
    for i, j, move in a_path(*size):
        wanted[0, 0, i, j] = 1
        wanted[move, 0, i, j] = 1
    match, insert, delete = tables_of(1, *size)
    match = match.masked_fill(wanted[0] == 0, -math.inf)
    grad = torch.tensor([0.3])
    found = run(
        "fsd", (match, insert, delete), SCHEDULES[:1], gamma=GAMMA, boundary="anchored", grad=grad
    ).gradients
    for gradient, on_path in zip(found, wanted, strict=True):
        assert torch.equal(gradient, grad * on_path)


@pytest.mark.parametrize("match, gap", [case for case in recurring() if case[0].shape[1] == 1024])
def test_rounding_does_not_add_up_along_a_path(match, gap):
    inputs = (match, torch.full((1, 1, 1), float(gap)), None)
    mass = run("fsd", inputs, SCHEDULES[:1], gamma=GAMMA, boundary="anchored").gradients[0]
    _, (exact, *_) = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    assert (mass - exact).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("gamma", [1e-4, 1e-3, 1e-2, 1.0, 1e3])
def test_gammas_and_scales(gamma, scale):
    for size in ((30, 25), (40, 30), (140, 20)):
        inputs = tuple(scale * t for t in tables_of(2, *size))
        found = run("fsd", inputs, gamma=gamma)
        score, gradients = exactly("fsd", inputs, gamma=gamma)
        close(found.score.double(), score, 1e-6 if scale / gamma < 1e5 else 1e-5)
        for gradient, wanted in zip(found.gradients, gradients, strict=True):
            assert (gradient - wanted).abs().max() < 1e-3


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("length", [200, 700, 1500])
def test_corridors_that_part_by_more_than_32_bits_and_join_again(length, turned):
    """Rows 1 and 3 of three, open; row 2 a wall but for its ends. In log2 the rows part by some 2^23 a step
    and meet again within less than 1, so that both carry weight."""
    step = 0.99 * 2**22 * GAMMA / LOG2E
    half = length // 2
    match = torch.full((1, 3, length + 2), -math.inf)
    swing = torch.cat([torch.full((half,), step), torch.full((half,), -step)])
    match[0, 0, 1 : 1 + 2 * half], match[0, 2, 1 : 1 + 2 * half] = swing, -swing
    match[0, 0, 0] = match[0, 1, 0] = match[0, 2, 0] = 0
    match[0, 0, 1 + 2 * half :] = match[0, 2, 1 + 2 * half :] = 0
    match[0, 1, -1], match[0, 0, -1] = 0.03, 0.02
    match = match.transpose(1, 2) if turned else match
    inputs = (match, torch.full((1, 1, 1), -0.001), None)
    found = run("fsd", inputs, gamma=GAMMA, boundary="anchored")
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    close(found.score.double(), score, 1e-4)
    first, second = ((0, 2), (0, 2)) if not turned else ((2, 0), (2, 0))
    assert 0.1 < gradients[0][0][(first if not turned else (half, 0))] < 0.9
    close(found.gradients[0].double(), gradients[0], 1e-3)


def test_a_corridor_that_changes_rows_between_two_chunks():
    """Rows 1 and 3 of four part as above, and where they are furthest apart a match alone leads from row 3
    to row 4: the state that it comes from is the only one of its corridor when the chunk begins."""
    half, column = 350, 16 * 22 - 3  # row 4 is at this column in a chunk's first step
    step = 0.99 * 2**22 * GAMMA / LOG2E
    swing = torch.cat([torch.full((half,), step), torch.full((half,), -step)])
    match = torch.full((1, 4, 2 * half + 2), -math.inf)
    match[0, :3, 0] = match[0, :, -1] = 0
    match[0, 0, 1:-1] = swing
    match[0, 2, 1:column] = -swing[: column - 1]
    match[0, 3, column:-1] = -swing[column - 1 :]
    inputs = (match, torch.full((1, 1, 1), -0.001), None)
    found = run("fsd", inputs, gamma=GAMMA, boundary="anchored")
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    close(found.score.double(), score, 1e-4)
    assert 0.1 < gradients[0][0, 3, column] < 0.9
    close(found.gradients[0].double(), gradients[0], 1e-3)


def test_a_corridor_that_changes_rows_soon_after_it_has_left_the_base():
    """As above, but row 1 stays where it is, and rows 3 and 4 sink by 2^23 in log2 a step for 39 steps and
    rise again. Row 4 begins after 23 of them, in a chunk whose other states are all near."""
    quiet, half, column = 21, 39, 16 * 3 - 3
    step = 0.99 * 2**22 * GAMMA / LOG2E
    swing = torch.cat([torch.zeros(quiet), torch.full((half,), -step), torch.full((half,), step)])
    match = torch.full((1, 4, len(swing) + 2), -math.inf)
    match[0, :3, 0] = match[0, :, -1] = match[0, 0] = 0
    match[0, 2, 1:column] = swing[: column - 1]
    match[0, 3, column:-1] = swing[column - 1 :]
    delete = torch.full_like(match, -0.001)
    delete[0, 2:, 1:-1] += swing
    delete[0, 3, -2] -= step  # for that of row 4's first cell, which a match leads to
    inputs = (match, torch.full_like(match, -0.001), delete)
    found = run("fsd", inputs, gamma=GAMMA, boundary="anchored")
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    close(found.score.double(), score, 1e-4)
    assert 0.1 < gradients[0][0, 3, column] < 0.9
    close(found.gradients[0].double(), gradients[0], 1e-3)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [(1, 1100), (1100, 1), (3, 600), (200, 300)], ids=str)
def test_free_boundary_beside_rows_that_have_grown(size, sign):
    """Steps of 2^22 in log2: the sum outgrows 32 bits while the boundary stays at 0."""
    match = torch.full((1, *size), sign * 0.99 * 2**22 * GAMMA / LOG2E)
    match *= 1 - 0.01 * torch.rand(1, *size)
    inputs = (match, torch.full((1, 1, 1), -0.5), None)
    found = run("fsd", inputs, gamma=GAMMA)
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA)
    close(found.score.double(), score, 1e-6)
    assert (found.gradients[0] - gradients[0]).abs().max() < 1e-3


def test_a_row_that_has_grown_by_40_bits():
    match = torch.full((1, 1, 2**18), 0.99 * 2**22 * GAMMA / LOG2E)
    found = run("fsd", (match, torch.zeros(1, 1, 1), None), SCHEDULES[:1], gamma=GAMMA)
    assert found.score.item() * LOG2E / GAMMA > 2**39.9
    assert found.score.item() == pytest.approx(match.double().sum().item(), rel=1e-6)
    assert (found.gradients[0] - 1).abs().max() < 1e-3


@pytest.mark.parametrize("gamma", [1e-3, GAMMA, 10.0])
@pytest.mark.parametrize("size", [1e6, 2.9e6, 2.92e6, 1e8, 1e12, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_at_the_end_of_the_range_are_right_or_nan(sign, size, gamma):
    """In float32 the range ends at 2.907e6 gamma. What is below -2.907e6 gamma counts as -inf, and the pair
    is NaN where that leaves no path."""
    for shape in ((5, 5), (40, 36)):
        match = torch.full((2, *shape), sign * size * gamma)
        match[1] = scores(*shape)
        match[0, 1, 2] *= 0.999
        found = run("fsd", (match, torch.zeros(1, 1, 1), None), gamma=gamma, boundary="anchored")
        score, (mass, *_) = exactly(
            "fsd", (match, torch.zeros(1, 1, 1), None), gamma=gamma, boundary="anchored"
        )
        close(found.score[1].double(), score[1], 1e-5)
        if size < 2.907e6:
            close(found.score.double(), score, 1e-6)
            assert (found.gradients[0] - mass).abs().max() < 1e-3
        else:
            assert found.score[0].isnan() and found.gradients[0][0].isnan().all()


@pytest.mark.parametrize("size", [6, 40])
@pytest.mark.parametrize("low", [-1e9, -1e30])
def test_a_mask_of_large_numbers_is_one_of_minus_infinity(low, size):
    match = scores(2, size, size, dtype=F32)
    off = (torch.arange(size) - torch.arange(size)[:, None]).abs() > 2
    gap = torch.full((1, 1, 1), -0.1)
    found = run("fsd", (match.masked_fill(off, low), gap, None), gamma=GAMMA, boundary="anchored")
    wanted = run("fsd", (match.masked_fill(off, -math.inf), gap, None), gamma=GAMMA, boundary="anchored")
    assert torch.equal(found.score, wanted.score) and found.score.isfinite().all()
    assert torch.equal(found.gradients[0], wanted.gradients[0])
    match[0, 2] = low  # no way past: a number for one pair, and not minus infinity
    found = run("fsd", (match, gap, None), gamma=GAMMA, boundary="anchored")
    assert found.score[0].isnan() and found.score[1].isfinite()


@pytest.mark.parametrize("gamma", [1e-310, 1e-45, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("dtype", [F32, torch.float64], ids=str)
def test_extreme_gammas(dtype, gamma):
    match = scores(1, 3, 3, dtype=dtype)
    gap = torch.zeros(1, 1, 1, dtype=dtype)
    value = run("fsd", (match, gap, None), gamma=gamma, boundary="anchored").score
    hard = run("fsd", (match, gap, None), gamma=0.0, boundary="anchored").score.item()
    expected = hard if gamma < 1 else gamma * math.log(13)  # so smooth that only the paths count
    if dtype == F32:
        expected = torch.tensor(expected, dtype=F32).item()
    assert value.isnan().item() or value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [1e-3, GAMMA, 10.0])
def test_long_chains_neither_overflow_nor_vanish(gamma):
    row = scores(1, 1, 4096, dtype=F32) * 100
    for table in (row, row.transpose(1, 2)):
        found = run(
            "fsd", (table, torch.zeros(1, 1, 1), None), SCHEDULES[:1], gamma=gamma, boundary="anchored"
        )
        assert found.score.item() == pytest.approx(row.double().sum().item(), rel=1e-5, abs=1e-3)
        assert (found.gradients[0] - 1).abs().max() < 1e-3


def test_a_diagonal_corridor():
    diagonal = torch.full((1, 1024, 1024), -math.inf)
    diagonal[0].fill_diagonal_(0.49)
    found = run("fsd", (diagonal, torch.zeros(1, 1, 1), None), SCHEDULES[:1], gamma=GAMMA)
    assert found.score.item() == pytest.approx(0.49 * 1024 + GAMMA * math.log(3), rel=1e-5)
    assert torch.equal(found.gradients[0][0], torch.eye(1024))
