"""The CUDA kernels' sources, run on the CPU: second derivatives, and the visits of lcs."""

import math

import pytest
import torch
from helpers import close, scores
from kernel_checks import (  # noqa: F401
    ALL_BLOCKS,
    F32,
    REGIMES,
    SCHEDULES,
    TOLERANCE,
    assert_padding_is_zero,
    one_thread,
    run,
    tables_of,
)

import softdp


def check_products(recurrence, inputs, directions, needs=(True,) * 3, **options):
    """The Hessian's products, and the score's derivative along the directions, against the reference's."""
    schedules = SCHEDULES
    if inputs[0].dtype == torch.float64:  # a strip takes 85 KiB; the least that a GPU has is 99
        schedules = [*SCHEDULES[:2], (*SCHEDULES[2][:3], 99)]
    grad = torch.linspace(0.5, 2, inputs[0].shape[0], dtype=inputs[0].dtype)
    found = run(recurrence, inputs, schedules, directions=directions, grad=grad, needs=needs, **options)
    size = inputs[0].shape
    if recurrence == "lcs":
        options["threshold"] = torch.tensor(options["threshold"]).to(inputs[0].dtype).item()
    leaves = [t.double().expand(size).clone().requires_grad_() for t in inputs if t is not None]
    weight = grad.double().requires_grad_()
    score = getattr(softdp.reference, f"{recurrence}_score")(*leaves, **options)
    gradients = torch.autograd.grad((weight * score).sum(), leaves, create_graph=True)
    along = sum((g * v).sum() for g, v in zip(gradients, directions, strict=False) if v is not None)
    tangent, *products = torch.autograd.grad(along, [weight, *leaves], materialize_grads=True)
    digits = 1e-10 if inputs[0].dtype == torch.float64 else 1e-4
    close(found.score.double(), tangent, digits * max(1, tangent.nan_to_num(0).abs().max()))
    for product, wanted, need in zip(found.gradients, products, needs, strict=False):
        assert (product is not None) == need
        if need:
            close(product.double(), wanted, digits * max(1, wanted.nan_to_num(0).abs().max()))
    assert_padding_is_zero(found, size, options)


SECOND = [(1, 1), (5, 8), (32, 32), (17, 16), (33, 1), (1, 33), (33, 128), (127, 64), (129, 2), (260, 20)]


@pytest.mark.parametrize("size", SECOND, ids=str)
def test_fsd_second_order(size):
    for dtype, gaps in (
        (F32, ("dense", "dense")),
        (F32, ("dense", "shared")),
        (torch.float64, ("row", "dense")),
    ):
        inputs = tables_of(2, *size, dtype=dtype, gaps=gaps)
        directions = tuple(None if t is None else scores(2, *size).to(dtype) for t in inputs)
        check_products("fsd", inputs, directions, gamma=0.3)
        check_products("fsd", inputs, directions, gamma=0.5, boundary="anchored")


@pytest.mark.parametrize("size", SECOND, ids=str)
def test_lcs_second_order(size):
    for dtype in (F32, torch.float64):
        inputs = (scores(2, *size, dtype=dtype),)
        check_products("lcs", inputs, (scores(2, *size, dtype=dtype),), gamma=0.3, threshold=0.4)
    check_products("lcs", inputs, (scores(2, *size, dtype=dtype),), gamma=0.0, threshold=0.4)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_second_order_of_some_directions_and_some_products(size):
    N, M = size
    inputs = tables_of(3, *size)
    strided = scores(3, 2 * M, 3 * N, dtype=F32).transpose(1, 2)[:, ::3, ::2]
    for directions, needs in (
        ((strided, None, None), (False, True, True)),
        ((None, scores(3, N, 1, dtype=F32), None), (True, False, True)),
        ((None, None, scores(1, 1, M, dtype=F32)), (True, True, False)),
    ):
        check_products("fsd", inputs, directions, needs=needs, gamma=0.3)


@pytest.mark.parametrize("size", REGIMES, ids=str)
def test_second_order_of_ragged_masked_and_spoiled_pairs(size):
    N, M = size
    x, y = torch.tensor([N, 0, N // 2, 1, N, N]), torch.tensor([M - 1, 3, M, M // 2, M, M])
    match, insert, delete = tables_of(6, N, M)
    match[0].masked_fill_(torch.rand(N, M) < 0.2, -math.inf)
    match[0, N - 1, M - 2] = 0
    match[2, N // 2 - 1, M - 1] = -math.inf
    match[4, N // 2, M // 2] = math.nan
    directions = tuple(scores(6, N, M, dtype=F32) for _ in range(3))
    for ragged in ({"x_lengths": x, "y_lengths": y}, {"x_lengths": x.int()}):
        check_products("fsd", (match, insert, delete), directions, gamma=0.3, **ragged)
        check_products("lcs", (match,), directions[:1], gamma=0.3, threshold=0.2, **ragged)
    unfit = {"x_lengths": torch.tensor([N, N + 1, -1, N, 2**40, N])}
    for recurrence, inputs in (("fsd", (match, insert, delete)), ("lcs", (match,))):
        found = run(recurrence, inputs, directions=directions, gamma=0.3, threshold=0.2, **unfit)
        assert all((product[[1, 2]] == 0).all() for product in found.gradients)


@pytest.mark.parametrize("size", REGIMES, ids=str)
@pytest.mark.parametrize("kind", ["fsd", "lcs"])
def test_second_order_of_a_spoiled_pair_of_which_nothing_is_asked(kind, size):
    """0 where the direction is 0 within its lengths; NaN where one number of it is not, wherever it lies."""
    N, M = size
    match, insert, _ = tables_of(6, N, M)
    match[:, N // 2, M // 2] = math.nan
    count = 1 if kind == "lcs" else 2
    lengths = {"x_lengths": torch.tensor([N - 1] * 6), "y_lengths": torch.tensor([M - 1] * 6)}
    for dtype in (F32, torch.float64):
        inputs = [match.to(dtype), insert.to(dtype)][:count]
        for which in range(count):
            directions = [torch.zeros(6, N, M, dtype=dtype) for _ in range(count)]
            directions[which][:, N - 1 :], directions[which][:, :, M - 1 :] = 1, math.nan  # the padding
            directions[which][1, 0, 0] = 1e-30
            directions[which][2, N - 2, M - 2] = -1
            directions[which][3, N // 2, 0] = math.nan
            directions[which][4] = -directions[which][4] * 0.0
            if which == 1:
                directions[0] = None
            options = {"gamma": 0.3, "threshold": 0.2, "needs": (True,) * count, **lengths}
            tables = inputs if kind == "lcs" else (*inputs, None)
            found = run(kind, tables, SCHEDULES[1:2], directions=directions, **options)
            asked = torch.tensor([False, True, True, True, False, False])
            assert found.score[asked].isnan().all() and (found.score[~asked] == 0).all()
            for product in found.gradients:
                assert product[asked, : N - 1, : M - 1].isnan().all() and (product[~asked] == 0).all()


@pytest.mark.parametrize("kind", ["fsd", "lcs"])
def test_schedules_change_nothing_of_the_second_order(kind):
    inputs = tables_of(2, 600, 70, gaps=("dense", "shared"))
    schedules = [
        (order, blocks, 5, shared)
        for order, shared in (("forward", 99), ("reverse", 227), ("random", 64))
        for blocks in (1, ALL_BLOCKS)
    ]
    directions = tuple(scores(2, 600, 70, dtype=F32) for _ in range(2))
    count = 1 if kind == "lcs" else 2
    run(kind, inputs[:1] if kind == "lcs" else inputs, schedules, directions=directions[:count], gamma=0.3,
        threshold=0.2)  # fmt: skip


@pytest.mark.parametrize("size", [*REGIMES, (1, 40), (40, 1)], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.2])
def test_visits(size, gamma):
    for dtype in (F32, torch.float64):
        similarity = scores(3, *size, dtype=dtype)
        options = {"gamma": gamma, "threshold": 0.5, "x_lengths": torch.tensor([size[0], size[0] // 2, 0])}
        found = run("lcs", (similarity,), visits=True, **options)
        expected = softdp.reference.lcs_visits(similarity.double(), **options)
        close(found.gradients[0].double(), expected, TOLERANCE[dtype])
        assert_padding_is_zero(found, similarity.shape, options)
