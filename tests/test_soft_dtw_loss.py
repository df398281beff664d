"""soft_dtw_loss and SoftDTWLoss: every cost against its matrix, and what a loss must keep to."""

import math

import pytest
import torch
from helpers import close

import softdp


def euclidean(x, y):
    return (x[:, :, None] - y[:, None]).square().sum(3).sqrt()


MATRICES = {
    "squared_euclidean": lambda x, y: (x[:, :, None] - y[:, None]).square().sum(3),
    "euclidean": euclidean,
    "manhattan": lambda x, y: (x[:, :, None] - y[:, None]).abs().sum(3),
    "cosine": lambda x, y: 1 - torch.cosine_similarity(x[:, :, None], y[:, None], dim=3),
    euclidean: euclidean,
}
LENGTHS = {"x_lengths": torch.tensor([5, 3, 1]), "y_lengths": torch.tensor([2, 6, 4])}
EMPTY = {"x_lengths": torch.tensor([5, 3, 0]), "y_lengths": torch.tensor([2, 0, 0])}


def features(dtype=torch.float64):
    return [torch.randn(3, steps, 4, dtype=dtype).requires_grad_() for steps in (5, 6)]


@pytest.mark.parametrize("cost", MATRICES, ids=lambda cost: cost if isinstance(cost, str) else "callable")
@pytest.mark.parametrize("lengths", [{}, LENGTHS, EMPTY], ids=["whole", "ragged", "empty"])
@pytest.mark.parametrize("normalize", [False, True])
def test_it_is_soft_dtw_of_the_costs(cost, lengths, normalize):
    x, y = features()

    def through_the_matrix(a, b, of_a, of_b):
        return softdp.soft_dtw(MATRICES[cost](a, b), gamma=0.5, x_lengths=of_a, y_lengths=of_b)

    of_x, of_y = lengths.get("x_lengths"), lengths.get("y_lengths")
    expected = through_the_matrix(x, y, of_x, of_y)
    if normalize:
        biases = through_the_matrix(x, x, of_x, of_x), through_the_matrix(y, y, of_y, of_y)
        expected = expected - sum(biases) / 2
    found = softdp.soft_dtw_loss(x, y, gamma=0.5, cost=cost, normalize=normalize, reduction="none", **lengths)
    close(found, expected, 1e-9)
    if normalize and cost in ("euclidean", euclidean):
        return  # the matrix has no derivative where a step meets itself
    weights = torch.tensor([1.0, 0.0, -2.0]) * expected.isfinite()
    for a, b in zip(
        torch.autograd.grad(found, (x, y), weights),
        torch.autograd.grad(expected, (x, y), weights),
        strict=True,
    ):
        close(a, b, 1e-9)


@pytest.mark.parametrize("cost", softdp._signatures.WORDS["cost"])
@pytest.mark.parametrize("normalize", [False, True])
def test_differentiable_twice(cost, normalize):
    def loss(x, y):
        return softdp.soft_dtw_loss(x, y, gamma=0.5, cost=cost, normalize=normalize, **LENGTHS)

    assert torch.autograd.gradcheck(loss, features())
    assert torch.autograd.gradgradcheck(loss, features())


def test_reductions_and_the_module():
    x, y = features()
    values = softdp.soft_dtw_loss(x, y, reduction="none")
    assert values.shape == (3,)
    close(softdp.soft_dtw_loss(x, y), values.mean(), 1e-12)
    close(softdp.soft_dtw_loss(x, y, reduction="sum"), values.sum(), 1e-12)
    module = softdp.SoftDTWLoss(gamma=0.1, cost="cosine", normalize=True, reduction="sum")
    expected = softdp.soft_dtw_loss(
        x, y, gamma=0.1, cost="cosine", normalize=True, reduction="sum", **LENGTHS
    )
    assert torch.equal(module(x, y, *LENGTHS.values()), expected)
    assert repr(module) == "SoftDTWLoss(gamma=0.1, cost='cosine', normalize=True, reduction='sum')"
    assert "cost='euclidean'" in repr(softdp.SoftDTWLoss(cost=euclidean))


@pytest.mark.parametrize("cost", ["squared_euclidean", "euclidean", "manhattan", "cosine"])
def test_equal_sequences_and_repeated_steps_have_finite_gradients(cost):
    x = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]], requires_grad=True)
    value = softdp.soft_dtw_loss(x, x, cost=cost, normalize=True)
    close(value, torch.zeros(()), 1e-6)
    assert torch.autograd.grad(value, x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cost", MATRICES, ids=lambda cost: cost if isinstance(cost, str) else "callable")
def test_every_dtype(dtype, cost):
    x, y = features(dtype)
    value = softdp.soft_dtw_loss(x, y, cost=cost)
    assert value.dtype == (dtype if dtype == torch.float64 else torch.float32)
    expected = softdp.soft_dtw_loss(x.double(), y.double(), cost=cost)
    close(value.double(), expected, 1e-5)
    assert all(g.dtype == dtype for g in torch.autograd.grad(value, (x, y)))


def test_small_differences_of_large_positions_keep_their_digits():
    steps = torch.linspace(0, 20000, 400)[None, :, None]
    for features in (1, 20):  # by differences, by products
        x = steps.repeat(1, 1, features)
        assert softdp.soft_dtw_loss(x, x + 1, gamma=0.0).item() == 400 * features
        y = (x + 1).requires_grad_()
        (gradient,) = torch.autograd.grad(softdp.soft_dtw_loss(x, y, gamma=0.0), y)
        close(gradient, torch.full_like(y, 2.0), 1e-5)


@pytest.mark.parametrize("cost", softdp._signatures.WORDS["cost"])
@pytest.mark.parametrize("spoiled", [math.nan, math.inf])
def test_the_padding_may_hold_anything_and_a_spoiled_pair_is_alone(spoiled, cost):
    x, y = (t.detach() for t in features())
    options = {"cost": cost, "reduction": "none", **LENGTHS}
    expected = softdp.soft_dtw_loss(x, y, **options)
    x[1, 3:], y[0, 2:] = spoiled, spoiled
    assert torch.equal(softdp.soft_dtw_loss(x, y, **options), expected)
    x[1, 0] = spoiled
    found = softdp.soft_dtw_loss(x.requires_grad_(), y, **options)
    assert found.isnan().tolist() == [False, True, False]
    (gradient,) = torch.autograd.grad(found.sum(), x, retain_graph=True)
    assert (
        gradient[1, :3].isnan().all() and (gradient[1, 3:] == 0).all() and gradient[[0, 2]].isfinite().all()
    )
    (gradient,) = torch.autograd.grad(found[0], x)
    assert (gradient[1:] == 0).all()


@pytest.mark.parametrize("scale, noise", [(1, 1e-3), (100, 1e-2), (1000, 1e-3)])
@pytest.mark.parametrize("steps", [100, 400])  # a chunk, tiles
def test_gradients_of_close_sequences_keep_their_digits(steps, scale, noise):
    x = scale * torch.randn(1, steps, 20)
    y = (x + noise * torch.randn_like(x)).requires_grad_()
    (found,) = torch.autograd.grad(softdp.soft_dtw_loss(x, y), y)
    (expected,) = torch.autograd.grad(softdp.soft_dtw(softdp.squared_euclidean(x, y)).sum(), y)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_gradient_of_nan_is_not_lost():
    x, y = torch.randn(2, 40, 3, requires_grad=True), torch.randn(2, 50, 3)
    for value in (
        softdp.soft_dtw_loss(x, y),
        softdp.soft_dtw(softdp.squared_euclidean(x, y)).sum(),
        softdp.squared_euclidean(x, y).sum(),
    ):
        (gradient,) = torch.autograd.grad(value * math.nan, x)
        assert gradient.isnan().all()


def test_meta_tensors_have_gradients_and_empty_sequences_hide_what_is_beside_them():
    x, y = (t.detach().to("meta").requires_grad_() for t in features())
    gradients = torch.autograd.grad(softdp.soft_dtw_loss(x, y), (x, y))
    assert [g.shape for g in gradients] == [x.shape, y.shape]
    for steps in (6, 300):
        y = torch.full((1, steps, 2), math.nan)
        value = softdp.soft_dtw_loss(torch.zeros(1, 3, 2), y, x_lengths=torch.tensor([0]))
        assert value == math.inf


@pytest.mark.parametrize("boundary", ["anchored", "subsequence"])
def test_a_far_pair_is_right_in_float32(boundary):
    """A sum past what float's exponents hold at this gamma: tiles are swept relative to their edges."""
    x, y = (torch.randn(1, 700, 256) for _ in range(2))
    found = softdp.soft_dtw_loss(x, y, gamma=1e-3, boundary=boundary)
    close(found.double(), softdp.soft_dtw_loss(x.double(), y.double(), gamma=1e-3, boundary=boundary), 1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cost": "l2"}, 'cost must be one of "squared_euclidean"'),
        ({"cost": torch.ones(2)}, "cost must be one of"),
        ({"reduction": "avg"}, "reduction must be"),
        ({"gamma": -1.0}, "gamma must be finite"),
    ],
)
def test_wrong_arguments_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        softdp.soft_dtw_loss(*features(), **options)
    with pytest.raises(ValueError, match=message):
        softdp.SoftDTWLoss(**options)


def test_a_gamma_to_train_gets_what_to_write():
    x, y = features()
    g = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    for normalize in (False, True):
        with pytest.raises(TypeError, match="with g for it, write") as error:
            softdp.soft_dtw_loss(x, y, gamma=g, normalize=normalize)
        written = eval(str(error.value).split("write ")[1], {"softdp": softdp, "x": x, "y": y, "g": g})
        close(written, softdp.soft_dtw_loss(x, y, gamma=0.5, normalize=normalize, reduction="none"), 1e-12)
    with pytest.raises(TypeError, match="gamma must be a number") as error:
        softdp.soft_dtw_loss(x, y, gamma=g, cost="cosine")
    assert "write" not in str(error.value)


def test_a_cost_of_another_shape_is_explained():
    with pytest.raises(
        ValueError, match=r"cost must return the costs \(B, N, M\) = \(3, 5, 6\), got \(3, 5, 4\)"
    ):
        softdp.soft_dtw_loss(*features(), cost=lambda x, y: x)
    with pytest.raises(ValueError, match="got float"):
        softdp.soft_dtw_loss(*features(), cost=lambda x, y: 1.0)
