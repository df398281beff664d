"""The CUDA kernels' own sources, run on the CPU: what the sweeps of few pairs, csrc/cuda/relay.h, have of
their own. Scores part by more than 32 bits, spoiled pairs have no path, and pieces end in odd rows.

STEP is the largest score but for 1 %: in log2 two of them, which a move of fsd adds, are 2^23.
"""

import math
import struct

import harness
import pytest
import torch
from helpers import close, scores
from kernel_checks import ALL_BLOCKS, F32, GAMMA, check, exactly, one_thread, pairs, run, tables_of  # noqa: F401
from test_kernels_pieces import swept_in_pieces

import softdp

STEP = 0.99 * 2**22 * GAMMA * math.log(2)


def growing_above_a_wall(N, M, row, begin=60):
    """From column `begin` on, after chunks that have one base, the row grows by 2^23 a column. The next one
    is forbidden, and those below are reached from the left."""
    match, insert, delete = tables_of(1, N, M)
    match[0, row, begin:] = delete[0, row, begin:] = STEP
    match[0, row + 1] = -math.inf
    return match, insert, delete


@pytest.mark.parametrize("size, row", [((6, 220), 0), ((6, 220), 1), ((131, 300), 63)], ids=str)
def test_rows_beside_one_that_grows(size, row):
    """Within a lane, from lane to lane, and from strip to strip, where 32 bits do not hold the difference."""
    check("fsd", growing_above_a_wall(*size, row), softdp, gamma=GAMMA)


def test_a_row_above_the_strip_that_is_out_of_reach_at_first():
    """What comes from above then leaves the strip's base from one chunk to the next."""
    match, insert, delete = growing_above_a_wall(131, 300, 62, 0)
    match[0, 63, 250:], match[0, 64] = 0.5, -math.inf
    check("fsd", (match, insert, delete), softdp, gamma=GAMMA)


def test_all_states_sink():
    match, gap = torch.zeros(1, 3, 200), torch.zeros(1, 3, 200)
    match[:, :, 60:] = gap[:, :, 60:] = -STEP
    inputs = (match, gap, None)
    score, _ = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    close(run("fsd", inputs, gamma=GAMMA, boundary="anchored").score.double(), score, 1e-6)


@pytest.mark.parametrize("N, row", [(3, 0), (64, 63)])
def test_a_corridor_that_sinks_and_comes_back(N, row):
    """Of the last three rows two are corridors, which both carry weight. One stays near the base, and the
    other is 2^29 lower on its way. It is the first row of a lane, or the last one of the last lane."""
    still, swing = (N - 1 if row < N - 1 else N - 3), torch.zeros(280)
    swing[60:140], swing[140:220] = -STEP, STEP
    match, delete = torch.full((1, N, 280), -math.inf), torch.full((1, N, 280), -0.001)
    match[0, :, 0] = match[0, N - 3 :, -1] = match[0, still] = 0
    match[0, row] = swing
    delete[0, row] += swing
    check_two_corridors((match, torch.full((1, 1, 1), -0.001), delete), row, 140)


def test_a_corridor_that_changes_columns_between_two_chunks():
    """It sinks along column 64, two rows a step, and on along column 65. Between them a match begins a chunk:
    the state that it comes from is the only one of the corridor then. Row 63 stays near the base."""
    match, insert, delete = (torch.full((1, 64, 160), -0.001) for _ in range(3))
    match[:] = -math.inf
    match[0, :, 0] = match[0, 63] = match[0, 0, :65] = match[0, 61:, -1] = 0
    for column, rows in ((64, slice(1, 30)), (65, slice(30, 62))):
        match[0, rows, column] = insert[0, rows, column] = -STEP
    match[0, 61, 66:126] = delete[0, 61, 67:125] = STEP  # wins back what the rows have lost
    match[0, 61, 126:] = 0
    check_two_corridors((match, insert, delete), 30, 65)


def check_two_corridors(inputs, row, column):
    found = run("fsd", inputs, gamma=GAMMA, boundary="anchored")
    score, gradients = exactly("fsd", inputs, softdp, gamma=GAMMA, boundary="anchored")
    close(found.score.double(), score, 1e-4)
    assert 0.1 < gradients[0][0, row, column] < 0.9
    close(found.gradients[0].double(), gradients[0], 1e-2)


@pytest.mark.parametrize("rows", [5, 6])
def test_pieces_of_rows_that_have_parted(rows):
    inputs = growing_above_a_wall(12, 60, 0, 0)
    score, _ = exactly("fsd", inputs, softdp, gamma=GAMMA)
    close(swept_in_pieces("fsd", inputs, rows, 33, "free", GAMMA).score.double(), score, 1e-6)


def test_a_wall_below_states_that_have_grown_within_a_chunk():
    """Forbidden moves stay far below what is allowed, from whatever state they start."""
    match, gap = torch.full((1, 8, 60), STEP), torch.full((1, 1, 1), STEP)
    match[0, 6] = -math.inf
    found = run("fsd", (match, gap, None), gamma=GAMMA, boundary="anchored")
    assert found.score == -math.inf and (found.gradients[0] == 0).all()


@pytest.mark.parametrize("score", [0.0, 0.499, -0.499])
def test_as_many_paths_as_there_can_be(score):
    """All scores the same, in log2. Sums of paths leave float's range, and so do products of mantissas."""
    match = torch.full((1, 70, 90), score * GAMMA * math.log(2))
    check("fsd", (match, match, None), gamma=GAMMA, slack=5)


@pytest.mark.parametrize("row, wall", [(2, 5), (3, 5), (2, 100), (67, 100)])
def test_nan_spoils_a_pair_without_a_path(row, wall):
    """Its numbers reach no state that counts."""
    inputs = tables_of(2, 131, 40)
    inputs[0][:, wall] = -math.inf
    inputs[0][0, row, 7] = math.nan
    found = run("fsd", inputs, gamma=GAMMA, boundary="anchored")
    assert found.score.isnan().tolist() == [True, False]
    assert all(g[0].isnan().all() and (g[1] == 0).all() for g in found.gradients)


@pytest.mark.parametrize("edge, at", [("above", 3), ("above", 20), ("left", 2), ("left", 3), ("corner", 0)])
def test_nan_of_the_piece_before_spoils_a_piece_without_a_path(edge, at):
    N, M = 9, 40
    count = {"above": M, "left": N, "corner": 1}[edge]
    nan, dead = struct.pack("f4xq", math.nan, 0), struct.pack("f4xq", 1, -(2**50))
    states = [nan if i == at else dead for i in range(count)]
    given = {edge: torch.frombuffer(bytearray(b"".join(states)), dtype=torch.uint8).view(1, count, 16)}
    match, insert, delete = tables_of(1, N, M)
    match[:, 6] = -math.inf
    found = run("fsd", (match, insert, delete), gamma=GAMMA, boundary="anchored", given=given, save=False)
    assert found.score.isnan()


@pytest.mark.parametrize("place", [(0, 0), (3, 30), (40, 2), (66, 48)], ids=str)
def test_nan_spoils_all_pieces_that_follow(place):
    similarity = scores(1, 67, 49, dtype=F32)
    similarity[(0, *place)] = math.nan
    assert swept_in_pieces("lcs", (similarity,), 35, 17, "free", GAMMA, threshold=0.3).score.isnan()


def test_visits():
    similarity = scores(3, 70, 41, dtype=F32)
    options = {"gamma": GAMMA, "threshold": 0.5, "x_lengths": torch.tensor([70, 35, 0])}
    found = run("lcs", (similarity,), visits=True, **options)
    close(found.gradients[0].double(), softdp.reference.lcs_visits(similarity.double(), **options), 1e-5)


def test_few_pairs_need_shared_memory_and_multiprocessors():
    """Other kernels sweep where a block may not have 128 KiB, or strips are more than multiprocessors."""
    inputs = tables_of(2, 70, 50, gaps=("dense", "shared"))
    found = []
    for shared, multiprocessors in ((227, 0), (127, 1000), (227, 3), (128, 4), (227, 1000)):
        harness.module().schedule("forward", ALL_BLOCKS, 1, shared, multiprocessors)
        found.append(harness.run("fsd", inputs, gamma=GAMMA).gradients[0])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert torch.equal(found[3], found[4]) and not torch.equal(found[0], found[3])
    close(found[3], found[0], 1e-6)


def test_waves_of_blocks_are_even():
    even = harness.module().even_waves
    assert even(1056, 132, 5) == 4  # two waves of four, not of five and three
    assert even(660, 132, 5) == 5 and even(661, 132, 5) == 3
    assert even(132 * 11, 132, 5) == 5  # three waves
    assert even(1056, 132, 0) == 0 and even(1056, 0, 5) == 5


def test_sums_that_leave_the_first_base_far_behind():
    """By 2^19 a step: each strip and the row above it are near a base, of which most are beyond 2^26."""
    match, insert, delete = tables_of(1, 450, 420)
    check("fsd", (match + STEP / 8, insert, delete), gamma=GAMMA, slack=2)
