"""The losses against their definition, with cosines and reductions written out."""

import copy
import io
import math
import pickle
from functools import partial

import pytest
import torch
from devices import agrees, to
from helpers import close, score_and_gradients
from torch.nn import functional as F  # noqa: N812

import softdp

TARGET = torch.tensor([1, 0, 1, 0, 0])
LOSSES = [(softdp.fsd_loss, softdp.FSDLoss), (softdp.lcs_loss, softdp.LCSLoss)]
each = pytest.mark.parametrize("loss, module", LOSSES, ids=["fsd", "lcs"])


def features(B=5, N=4, M=6, D=8, dtype=torch.float64):
    return torch.randn(B, N, D, dtype=dtype), torch.randn(B, M, D, dtype=dtype)


def cosines(x, y):
    return F.cosine_similarity(x[:, :, None], y[:, None], dim=3)


def scores_of(loss, x, y, **options):
    if loss is softdp.fsd_loss:
        return softdp.fsd_score(cosines(x[..., :4], y[..., :4]), cosines(x[..., 4:], y[..., 4:]), **options)
    return softdp.lcs_score(cosines(x, y), threshold=0.2, **options)


def options_of(loss):
    return {} if loss is softdp.fsd_loss else {"threshold": 0.2}


@each
@pytest.mark.parametrize("target", [TARGET, TARGET.bool(), TARGET.double(), TARGET.to(torch.int8)])
def test_reductions(loss, module, target):
    x, y = features()
    score = scores_of(loss, x, y)
    positive = TARGET.bool()
    expected = {
        "none": torch.where(positive, -score, score),
        "sum": score[~positive].sum() - score[positive].sum(),
        "mean": score[~positive].mean() - score[positive].mean(),
    }
    for reduction, wanted in expected.items():
        found = loss(x, y, target, reduction=reduction, **options_of(loss))
        assert found.shape == wanted.shape
        close(found, wanted, 1e-12)
        close(module(reduction=reduction, **options_of(loss))(x, y, target), wanted, 1e-12)


@each
def test_ragged_losses_agree_with_the_reference(loss, module, device):
    x, y = torch.randn(4, 30, 16, dtype=torch.float64), torch.randn(4, 35, 16, dtype=torch.float64)
    options = {"x_lengths": torch.tensor([30, 2, 17, 0]), "y_lengths": torch.tensor([35, 35, 1, 4])}
    options["target"] = torch.tensor([0, 1, 1, 0])
    options = {name: to(device, t) for name, t in options.items()}
    if loss is softdp.lcs_loss:
        options["threshold"] = 0.3
    exact = agrees(loss, (x, y), device, **options)
    found = score_and_gradients(loss, (to(device, x.float()), to(device, y.float())), **options)
    for a, b in zip((found[0], *found[1]), (exact[0], *exact[1]), strict=True):
        close(a, b, 1e-4)


@each
def test_a_missing_class_contributes_nothing(loss, module):
    x, y = features()
    score = scores_of(loss, x, y)
    ones = torch.ones(5)
    close(loss(x, y, ones, **options_of(loss)), -score.mean(), 1e-12)
    close(loss(x, y, 1 - ones, **options_of(loss)), score.mean(), 1e-12)
    empty = loss(x[:0], y[:0], ones[:0], **options_of(loss))
    assert empty.item() == 0


@each
def test_gradcheck(loss, module):
    x, y = (t.requires_grad_() for t in features(B=3, N=3, M=4))
    lengths = {"x_lengths": torch.tensor([3, 2, 1]), "y_lengths": torch.tensor([4, 4, 0])}
    assert torch.autograd.gradcheck(
        lambda x, y: loss(x, y, TARGET[:3], gamma=0.5, **lengths, **options_of(loss)), (x, y)
    )


@each
@pytest.mark.parametrize("needs", [(True, True), (True, False), (False, True)])
def test_second_derivatives(loss, module, needs):
    x, y = (t.requires_grad_(need) for t, need in zip(features(B=3, N=3, M=2, D=4), needs, strict=True))
    assert torch.autograd.gradgradcheck(
        lambda x, y: loss(x, y, TARGET[:3], gamma=0.5, **options_of(loss)), (x, y)
    )


@each
def test_a_sequence_against_itself(loss, module):
    """Both arguments' gradients add up, in the first order and in the second."""
    x = features(B=3, N=3, D=4)[0].requires_grad_()
    other = x.detach() + 0.1
    call = partial(loss, target=TARGET[:3], gamma=0.5, **options_of(loss))
    assert torch.autograd.gradcheck(lambda x: call(x, x + other), x)
    assert torch.autograd.gradgradcheck(lambda x: call(x, x + other), x)
    (found,) = torch.autograd.grad(call(x, x), x)
    close(found, sum(score_and_gradients(call, (x, x))[1]), 1e-12)


@each
def test_the_gradient_is_autograds(loss, module):
    """Of the same operations: torch.func takes the way that has no gradient of its own."""
    tensors = features(dtype=torch.float32)
    tensors[0][1, 2] = 0
    call = partial(loss, target=TARGET, **options_of(loss))
    value, found = score_and_gradients(call, tensors)
    wanted, again = torch.func.grad_and_value(call, argnums=(0, 1))(*tensors)
    assert torch.equal(value, again)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-6)


@each
def test_features_may_change_after_the_loss(loss, module):
    x, y = features()
    expected = score_and_gradients(partial(loss, target=TARGET, **options_of(loss)), (x, y))[1]
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    changing = [t * 1 for t in leaves]
    value = loss(*changing, TARGET, **options_of(loss))
    for t in changing:
        t.zero_()
    for found, wanted in zip(torch.autograd.grad(value, leaves), expected, strict=True):
        assert torch.equal(found, wanted)


@each
@pytest.mark.parametrize("size", [(0, 4, 6, 8), (5, 0, 6, 8), (5, 4, 0, 8), (5, 4, 6, 0), (0, 0, 0, 0)])
def test_empty_features_have_gradients(loss, module, size):
    tensors = features(*size)
    call = partial(loss, target=TARGET[: size[0]], **options_of(loss))
    value, gradients = score_and_gradients(call, tensors)
    assert value.shape == () and value.isfinite()
    assert [g.shape for g in gradients] == [t.shape for t in tensors]
    assert all((g == 0).all() for g in gradients)


@each
def test_a_zero_vector_has_similarity_and_gradient_zero(loss, module):
    x, y = features()
    x[:, 1] = 0
    value, (d_x, d_y) = score_and_gradients(lambda x, y: loss(x, y, TARGET, **options_of(loss)), (x, y))
    score = scores_of(loss, x, y)  # PyTorch's cosine of a zero vector is 0
    close(value, score[TARGET == 0].mean() - score[TARGET == 1].mean(), 1e-12)
    assert d_x.isfinite().all() and d_y.isfinite().all()
    assert (d_x[:, 1] == 0).all()


@each
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_features_of_any_size_have_a_cosine(loss, module, scale):
    x, y = features(dtype=torch.float32)
    expected = loss(x, y, TARGET, **options_of(loss))
    close(loss(x * scale, y / scale, TARGET, **options_of(loss)), expected, 1e-5)
    call = partial(loss, target=TARGET, **options_of(loss))
    of_x, of_y = score_and_gradients(call, (x, y))[1]
    found_x, found_y = score_and_gradients(call, (x * scale, y / scale))[1]
    close(found_x * scale, of_x, 1e-4)
    close(found_y / scale, of_y, 1e-4)


@each
def test_padding_may_hold_anything(loss, module):
    x, y = features()
    n, m = torch.tensor([4, 2, 3, 1, 0]), torch.tensor([6, 6, 2, 0, 5], dtype=torch.int32)
    options = {"x_lengths": n, "y_lengths": m, **options_of(loss)}
    clean = score_and_gradients(lambda x, y: loss(x, y, TARGET, **options), (x, y))
    x, y = x.clone(), y.clone()
    x[torch.arange(4) >= n[:, None]] = float("nan")
    y[torch.arange(6) >= m[:, None]] = float("inf")
    dirty = score_and_gradients(lambda x, y: loss(x, y, TARGET, **options), (x, y))
    assert torch.equal(clean[0], dirty[0])
    for a, b in zip(clean[1], dirty[1], strict=True):
        assert torch.equal(a, b)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_compute_in_float32(loss, module, dtype):
    x, y = features(dtype=dtype)
    value, gradients = score_and_gradients(lambda x, y: loss(x, y, TARGET, **options_of(loss)), (x, y))
    assert value.dtype == torch.float32 and all(g.dtype == dtype for g in gradients)
    close(value, loss(x.float(), y.float(), TARGET, **options_of(loss)), 1e-6)


@each
def test_modules_copy_and_pickle(loss, module):
    made = module(gamma=0.3, reduction="sum")
    x, y = features()
    expected = made(x, y, TARGET)
    buffer = io.BytesIO()
    torch.save(made, buffer)
    buffer.seek(0)
    copies = copy.deepcopy(made), pickle.loads(pickle.dumps(made)), torch.load(buffer, weights_only=False)
    for twin in copies:
        assert repr(twin) == repr(made) and "gamma=0.3" in repr(twin)
        assert torch.equal(twin(x, y, TARGET), expected)
    assert list(made.parameters()) == [] and made.state_dict() == {}


def test_training_with_the_loss_separates_pairs():
    x, y = features(B=8, N=5, M=5, dtype=torch.float32)
    target = torch.arange(8) % 2
    project = torch.nn.Linear(8, 8)
    optimizer = torch.optim.Adam(project.parameters(), lr=0.05)
    loss = softdp.FSDLoss()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(project(x), project(y), target)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0] - 1


THREE = torch.tensor([0, 1, 1])
FROM_FEATURES = {
    "fsd_loss": lambda x, y, **kw: softdp.fsd_loss(x, y, THREE, reduction="none", **kw),
    "lcs_loss": lambda x, y, **kw: softdp.lcs_loss(x, y, THREE, threshold=0.2, reduction="none", **kw),
    "soft_dtw": lambda x, y, **kw: softdp.soft_dtw(softdp.squared_euclidean(x, y, **kw), **kw),
    "divergence": lambda x, y, **kw: softdp.soft_dtw_divergence(x, y, **kw),
}
RAGGED = {"x_lengths": torch.tensor([6, 5, 6]), "y_lengths": torch.tensor([5, 5, 3])}


@pytest.mark.parametrize("name", FROM_FEATURES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("lengths", [{}, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_spoiled_pair_of_features_that_receives_the_gradient_0_gets_it(name, bad, lengths, dtype):
    """s[good].sum() trains on the good pairs, by autograd and by torch.func, to the second order."""
    score, good = FROM_FEATURES[name], [0, 2]
    n, m = (lengths[k][1] if lengths else full for k, full in (("x_lengths", 6), ("y_lengths", 5)))

    def of_good(x, y):
        return score(x, y, **lengths)[good].sum()

    for which in (0, 1):
        clean = [torch.randn(3, 6, 4).to(dtype), torch.randn(3, 5, 4).to(dtype)]
        spoiled = [t.clone().requires_grad_() for t in clean]
        clean = [t.requires_grad_() for t in clean]
        spoiled[which].data[1, 2, 1] = bad
        assert score(*spoiled, **lengths)[1].isnan()
        found = torch.autograd.grad(of_good(*spoiled), spoiled, create_graph=True)
        wanted = torch.autograd.grad(of_good(*clean), clean, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in found), spoiled)
        wanted_second = torch.autograd.grad(sum(g.square().sum() for g in wanted), clean)
        by_func = torch.func.grad(of_good, argnums=(0, 1))(*(t.detach() for t in spoiled))
        rounding = 4 * torch.finfo(dtype).eps * max(1, max(g.abs().max() for g in (*wanted, *wanted_second)))
        for a, b in zip((*found, *second, *by_func), (*wanted, *wanted_second, *wanted), strict=True):
            assert (a[1] == 0).all() and a.isfinite().all()
            close(a[good], b[good], max(1e-4, rounding) if dtype != torch.float64 else 1e-10)
        for gradients in (
            torch.autograd.grad(score(*spoiled, **lengths).sum(), spoiled),
            torch.func.grad(lambda *t: score(*t, **lengths).sum(), argnums=(0, 1))(
                *(t.detach() for t in spoiled)
            ),
        ):
            for gradient, length in zip(gradients, (n, m), strict=True):
                assert gradient[1, :length].isnan().all() and (gradient[1, length:] == 0).all()
                assert gradient[good].isfinite().all()


@pytest.mark.parametrize("name", FROM_FEATURES)
def test_a_spoiled_pair_of_features_in_a_compiled_function(name):
    x, y = torch.randn(3, 6, 4), torch.randn(3, 5, 4)
    x[1, 2, 1] = math.nan
    leaves = [t.requires_grad_() for t in (x, y)]
    compiled = torch.compile(FROM_FEATURES[name], backend="aot_eager", fullgraph=True)
    value = compiled(*leaves)
    assert value[1].isnan() and value[[0, 2]].isfinite().all()
    found = torch.autograd.grad(value[[0, 2]].sum(), leaves)
    wanted = torch.autograd.grad(FROM_FEATURES[name](*leaves)[[0, 2]].sum(), leaves)
    for a, b in zip(found, wanted, strict=True):
        assert (a[1] == 0).all()
        close(a, b, 1e-5)
