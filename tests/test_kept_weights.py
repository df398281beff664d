"""What it costs a gradient that a GPU keeps the weights of a cell in 16 bits each: the formula of
csrc/cuda/kept.h, in numpy, against the exact weights."""

import numpy as np
import pytest

ONE = 65535  # the unit of the weights is 1/ONE
MOST = 0.4999  # of the addends
SHRINKS = 0.036  # with the weight that is rounded


def addends(diagonal):
    """Of antidiagonals: multiples of half the golden section, as 32-bit integers wrap around."""
    turns = (np.asarray(diagonal).astype(np.uint32) * np.uint32(1327217885)).view(np.int32)
    return MOST * 2.0**-31 * turns


def halves(insert, delete, addend=0.0):
    """The two numbers of a cell that are kept: insert, and insert + delete."""
    unit = ONE - SHRINKS * addend
    return np.rint(unit * insert + addend), np.rint(unit * (insert + delete) + addend)


def kept(weights, spread=True):
    """Match, insert and delete as the backward sweep finds them."""
    _, rows, columns = weights.shape
    diagonal = np.add.outer(np.arange(rows), np.arange(columns))
    low, high = halves(weights[1], weights[2], addends(diagonal) if spread else 0.0)
    return np.stack([ONE - high, low, high - low]) / ONE


def antidiagonals(rows, columns):
    for d in range(rows + columns - 1):
        i = np.arange(max(0, d - columns + 1), min(rows, d + 1))
        yield i, d - i


def weights_of(match, insert, delete, gamma):
    """Of FSD with a free boundary."""
    rows, columns = match.shape
    total = np.zeros((rows + 1, columns + 1))
    weights = np.zeros((3, rows, columns))
    for i, j in antidiagonals(rows, columns):
        moves = np.stack([total[i, j], total[i, j + 1] + insert[i, j], total[i + 1, j] + delete[i, j]])
        largest = moves.max(0)
        shares = np.exp((moves - largest) / gamma)
        total[i + 1, j + 1] = match[i, j] + largest + gamma * np.log(shares.sum(0))
        weights[:, i, j] = shares / shares.sum(0)
    return weights


def gradient(weights):
    """Of the score by match."""
    _, rows, columns = weights.shape
    found = np.zeros((rows + 1, columns + 1))  # a row and a column past the end, where nothing comes from
    found[rows - 1, columns - 1] = 1
    by_match, by_insert, by_delete = np.pad(weights, ((0, 0), (0, 1), (0, 1)))
    for i, j in list(antidiagonals(rows, columns))[-2::-1]:
        down = found[i + 1, j] * by_insert[i + 1, j]
        right = found[i, j + 1] * by_delete[i, j + 1]
        found[i, j] = found[i + 1, j + 1] * by_match[i + 1, j + 1] + down + right
    return found[:rows, :columns]


def tables(kind, size):
    random = np.random.default_rng(0)
    gap = np.full((size, size), -0.5)
    if kind == "random":
        return random.random((size, size)), -random.random((size, size))
    if kind == "walk":  # smooth, so that weights nearly recur
        x = np.cumsum(0.05 * random.standard_normal((size, 4)), 0)
        return -((x[:, None] - x) ** 2).sum(-1), gap
    return np.full((size, size), 0.3), gap


def errors(match, gap, gamma):
    """The largest, with addends and rounded to the nearest."""
    weights = weights_of(match, gap, gap, gamma)
    exact = gradient(weights)
    return [abs(gradient(kept(weights, spread)) - exact).max() for spread in (True, False)]


@pytest.mark.parametrize("gamma", [0.1, 1.0])
@pytest.mark.parametrize("kind", ["random", "walk", "same"])
def test_1024_steps_keep_a_gradient_within_1e_4(kind, gamma):
    error, _ = errors(*tables(kind, 1024), gamma)
    assert error < 1e-4


@pytest.mark.parametrize("gap", [-0.9, -1.1, -1.2, -1.3])
def test_1024_equal_cells_keep_a_gradient_within_1e_4(gap):
    """Gaps whose weights recur with a fraction of a unit that a bias of 1/100 of it would show."""
    error, _ = errors(np.full((1024, 1024), 0.3), np.full((1024, 1024), gap), 0.1)
    assert error < 1e-4


def test_the_rounding_of_float32_moves_no_weight_to_a_forbidden_match():
    """The terms, their sum and its reciprocal are rounded, and all together are 1 in a few units of 2^-24."""
    random = np.random.default_rng(0)
    above, left = (random.uniform(2.0**-6, 4, 2_000_000).astype(np.float32) for _ in range(2))
    total = above + left
    reciprocal = np.float32(1) / total
    for ulps in (-1, 0, 1):  # a GPU's are off by one
        near = (reciprocal.view(np.int32) + np.int32(ulps)).view(np.float32)
        both = (above * near).astype(np.float64) + (left * near)
        for addend in (-MOST, MOST):
            unit = np.float64(np.float32(ONE - SHRINKS * addend))
            assert (np.rint((unit * both + addend).astype(np.float32)) == ONE).all()


@pytest.mark.parametrize("size, times", [(64, 5), (256, 15), (1024, 40)])
def test_rounding_to_the_nearest_adds_up_where_a_small_weight_recurs(size, times):
    """Of about 1.3 units in every cell: what is lost is lost in every cell, 5e-3 after 1024 steps."""
    match = np.full((size, size), 0.3)
    error, nearest = errors(match, match - 1.4, 0.1)
    assert times * error < nearest
    assert error < 1e-4


def test_a_forbidden_move_has_the_weight_0_and_an_only_one_has_1():
    alone = np.eye(3)[:, :, None] * np.ones(4096)
    assert (kept(alone) == alone).all()
    share = np.random.default_rng(0).random(4096)
    for forbidden, (a, b) in enumerate([(1, 2), (0, 2), (0, 1)]):
        weights = np.zeros((3, 1, 4096))
        weights[a, 0], weights[b, 0] = share, 1 - share
        found = kept(weights)
        assert (found[forbidden] == 0).all() and (found >= 0).all()
        assert abs(found - weights).max() < 1 / ONE
