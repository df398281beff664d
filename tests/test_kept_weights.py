"""What it costs a gradient that a GPU keeps the weights of a cell in 16 bits each: the formula of
csrc/cuda/kept.h, in numpy, against the exact weights."""

import numpy as np
import pytest

ONE = 65535  # the unit of the weights is 1/ONE
FINER = 8  # finer units in a unit
FINE = 1 / 16.1  # where insert + delete is below this, the unit is the finer one
MOST = 0.494  # of the addends


def addends(diagonal):
    """Of antidiagonals: multiples of half the golden section, as 32-bit integers wrap around."""
    turns = (np.asarray(diagonal).astype(np.uint32) * np.uint32(1327217885)).view(np.int32)
    return MOST * 2.0**-31 * turns


def halves(insert, delete, addend=0.0):
    """The two numbers of a cell that are kept, insert, and insert + delete, and what is 1 in their unit."""
    one = np.where(insert + delete < FINE, FINER * ONE, ONE)
    return np.rint(one * insert + addend), np.rint(one * (insert + delete) + addend), one


def kept(weights, spread=True):
    """Match, insert and delete as the backward sweep finds them."""
    _, rows, columns = weights.shape
    diagonal = np.add.outer(np.arange(rows), np.arange(columns))
    low, high, one = halves(weights[1], weights[2], addends(diagonal) if spread else 0.0)
    return np.stack([one - high, low, high - low]) / one


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
    match = np.full((size, size), 0.3)
    return match, np.full((size, size), -0.853) if kind == "drift" else gap  # else "same"


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


def of_equal_scores(rows, columns, gap, gamma=0.1):
    return errors(np.full((rows, columns), 0.3), np.full((rows, columns), gap), gamma)


@pytest.mark.parametrize("gap", [-0.64, -0.74, -0.78, -0.843, -0.94, -0.998, -1.08, -1.2, -1.3])
def test_1024_equal_cells_keep_a_gradient_within_1e_4(gap):
    """Gaps whose weights change so slowly along the diagonal that they keep step with the addends: these are
    the worst of some hundred."""
    error, _ = of_equal_scores(1024, 1024, gap)
    assert error < 5e-5


@pytest.mark.parametrize(
    "rows, columns, gap, most",
    [
        (32, 1024, -0.1, 1e-4),
        (8, 1024, -0.1132, 4e-4),
        (1, 1024, -0.299, 2.5e-4),
        (1, 4096, -0.2998, 4e-4),
        (10, 4096, -0.182, 4e-4),
        (2, 16384, -0.1, 5e-4),
    ],
)
def test_one_sequence_of_few_steps_and_equal_scores_have_larger_errors(rows, columns, gap, most):
    """Where nearly all of a row's weight is delete's, there is no finer unit."""
    found = [of_equal_scores(*size, gap)[0] for size in ((rows, columns), (columns, rows))]
    assert max(found) < most
    assert rows == 32 or max(found) > 1e-4  # else docs/limits.md says too much


def test_the_rounding_of_float32_moves_no_weight_to_a_forbidden_match():
    """A reciprocal, the unit that is made of it and the sum with an addend are rounded. Where match is barely
    possible, insert + delete is not more than 1."""
    random = np.random.default_rng(0)
    gaps = random.uniform(2.0**-6, 4, 2_000_000).astype(np.float32)
    for above in (0, 1, 2, 16):  # units in the last place that match has
        total = (gaps.view(np.int32) + np.int32(above)).view(np.float32)
        for ulps in (-1, 0, 1):  # a GPU's reciprocals are off by one
            reciprocal = ((np.float32(1) / total).view(np.int32) + np.int32(ulps)).view(np.float32)
            near = reciprocal * np.float32(ONE)
            off = (ONE - total.astype(np.float64) * near).astype(np.float32)
            unit = (reciprocal.astype(np.float64) * off + near).astype(np.float32)
            for addend in (-MOST, MOST):
                high = np.rint((gaps.astype(np.float64) * unit + addend).astype(np.float32))
                assert (high <= ONE).all()
                assert above or (high == ONE).all()


@pytest.mark.parametrize("size, times", [(64, 15), (256, 40), (1024, 100)])
def test_rounding_to_the_nearest_adds_up_where_a_small_weight_recurs(size, times):
    """Of about 0.6 of the finer units in every cell: what is lost is lost in every cell."""
    error, nearest = of_equal_scores(size, size, -1.36)
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
