"""Bad input gets a Python error that names the argument, what was expected and what came."""

import inspect
import math
import re

import numpy as np
import pytest
import torch
from helpers import close

import softdp

MATCH = torch.zeros(2, 3, 4)
FSD = {"match": MATCH, "insert": 0.0}
LCS = {"similarity": MATCH, "threshold": 0.5}
LOSS = {"x": torch.zeros(2, 3, 6), "y": torch.zeros(2, 4, 6), "target": torch.tensor([0, 1])}

GAMMA = [
    ({"gamma": -0.1}, ValueError, "gamma must be finite and not negative, got -0.1"),
    ({"gamma": float("nan")}, ValueError, "gamma must be finite and not negative, got nan"),
    ({"gamma": float("inf")}, ValueError, "gamma must be finite and not negative, got inf"),
    ({"gamma": "soft"}, TypeError, "gamma must be a number, got str"),
    ({"gamma": None}, TypeError, "gamma must be a number, got NoneType"),
    ({"gamma": True}, TypeError, "gamma must be a number, got bool"),
]
THRESHOLD = [
    ({"threshold": float("nan")}, ValueError, "threshold must not be NaN"),
    ({"threshold": "high"}, TypeError, "threshold must be a number, got str"),
]
LENGTHS = [
    (
        {"x_lengths": [3, 3]},
        TypeError,
        "x_lengths must be an int32 or int64 tensor of shape (2,) or None, got list",
    ),
    ({"x_lengths": torch.ones(2)}, TypeError, "x_lengths must be int32 or int64, got torch.float32"),
    ({"y_lengths": torch.tensor([1, 2, 3])}, ValueError, "y_lengths must have shape (2,), got (3,)"),
    ({"y_lengths": torch.tensor([[1, 2]])}, ValueError, "y_lengths must have shape (2,), got (1, 2)"),
    ({"x_lengths": torch.tensor([1, 4])}, ValueError, "x_lengths must lie in [0, 3], got 4"),
    ({"y_lengths": torch.tensor([5, 1])}, ValueError, "y_lengths must lie in [0, 4], got 5"),
    ({"x_lengths": torch.tensor([-1, 2])}, ValueError, "x_lengths must lie in [0, 3], got -1"),
    (
        {"x_lengths": torch.ones(2, dtype=torch.int64, device="meta")},
        ValueError,
        "x_lengths must be on the CPU or on ",
    ),
]
FSD_CASES = [
    ({"match": [[1.0]]}, TypeError, "match must be a tensor of shape (B, N, M), got list"),
    ({"match": torch.zeros(3, 4)}, ValueError, "match must have 3 dimensions (B, N, M), got shape (3, 4)"),
    (
        {"match": MATCH.int()},
        TypeError,
        "match must be float64, float32, float16 or bfloat16, got torch.int32",
    ),
    ({"match": MATCH.cfloat()}, TypeError, "match must be float64, float32, float16 or bfloat16"),
    ({"insert": "none"}, TypeError, "insert must be a number or a tensor, got str"),
    ({"insert": None}, TypeError, "insert must be a number or a tensor, got NoneType"),
    ({"insert": torch.zeros(2, 4, 3)}, ValueError, "insert must be broadcastable to match's shape (2, 3, 4)"),
    ({"insert": torch.zeros(1, 2, 3, 4)}, ValueError, "broadcastable to match's shape (2, 3, 4), got shape"),
    ({"delete": torch.zeros(3)}, ValueError, "delete must be broadcastable to match's shape (2, 3, 4)"),
    (
        {"delete": MATCH.double()},
        TypeError,
        "delete must have match's dtype torch.float32, got torch.float64",
    ),
    ({"insert": MATCH.half()}, TypeError, "insert must have match's dtype torch.float32, got torch.float16"),
    ({"insert": MATCH.int()}, TypeError, "insert must have match's dtype torch.float32, got torch.int32"),
    ({"insert": MATCH.to("meta")}, ValueError, "insert must be on match's device cpu, got meta"),
    (
        {"match": MATCH.to("meta"), "insert": MATCH.to("meta").half()},
        TypeError,
        "insert must have match's dtype torch.float32, got torch.float16",
    ),
    ({"boundary": "open"}, ValueError, 'boundary must be "free" or "anchored", got \'open\''),
    ({"boundary": None}, ValueError, 'boundary must be "free" or "anchored", got None'),
]
LCS_CASES = [
    ({"similarity": None}, TypeError, "similarity must be a tensor of shape (B, N, M), got NoneType"),
    ({"similarity": MATCH[0]}, ValueError, "similarity must have 3 dimensions (B, N, M), got shape (3, 4)"),
    ({"similarity": MATCH.long()}, TypeError, "similarity must be float64, float32, float16 or bfloat16"),
]
LOSS_CASES = [
    ({"x": [1.0]}, TypeError, "x must be a tensor of shape (B, N, D), got list"),
    ({"x": torch.zeros(2, 6)}, ValueError, "x must have 3 dimensions (B, N, D), got shape (2, 6)"),
    ({"y": torch.zeros(2, 4, 8)}, ValueError, "must agree in B and D, got (2, 3, 6) and (2, 4, 8)"),
    ({"y": torch.zeros(3, 4, 6)}, ValueError, "must agree in B and D, got (2, 3, 6) and (3, 4, 6)"),
    ({"y": torch.zeros(2, 4, 6).double()}, TypeError, "y must have x's dtype torch.float32"),
    ({"y": torch.zeros(2, 4, 6).to("meta")}, ValueError, "y must be on x's device cpu, got meta"),
    ({"target": [0, 1]}, TypeError, "target must be a tensor of shape (2,), got list"),
    ({"target": torch.tensor([0, 1, 1])}, ValueError, "target must have shape (2,), got (3,)"),
    ({"target": torch.tensor([0, 2])}, ValueError, "target must be bool or hold only 0 and 1, got "),
    ({"target": torch.tensor([0.5, 1.0])}, ValueError, "target must be bool or hold only 0 and 1, got "),
    ({"reduction": "max"}, ValueError, 'reduction must be "mean", "sum" or "none", got \'max\''),
    ({"reduction": None}, ValueError, 'reduction must be "mean", "sum" or "none", got None'),
]
ODD = [({"x": torch.zeros(2, 3, 5), "y": torch.zeros(2, 4, 5)}, ValueError, "even number of features")]


def cases(*groups):
    found = [(function, base, *case) for function, base, group in groups for case in group]
    names = [f"{f.__module__.split('.')[-1]}.{f.__name__}-{'-'.join(c)}" for f, _, c, *_ in found]
    return pytest.mark.parametrize("function, base, change, error, message", found, ids=names)


@cases(
    (softdp.fsd_score, FSD, FSD_CASES + LENGTHS + GAMMA),
    (softdp.reference.fsd_score, FSD, FSD_CASES + LENGTHS + GAMMA),
    (softdp.lcs_score, LCS, LCS_CASES + LENGTHS + GAMMA + THRESHOLD),
    (softdp.reference.lcs_score, LCS, LCS_CASES + LENGTHS + GAMMA + THRESHOLD),
    (softdp.fsd_loss, LOSS, LOSS_CASES + LENGTHS + GAMMA + ODD),
    (softdp.lcs_loss, LOSS, LOSS_CASES + LENGTHS + GAMMA + THRESHOLD),
)
def test_bad_input_is_named(function, base, change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        function(**{**base, **change})


X, Y = LOSS["x"], LOSS["y"]
SAYS_WHAT_TO_WRITE = [
    # features where scores are expected, and arguments that go by name
    (lambda: softdp.soft_dtw(X, Y), "softdp.soft_dtw(softdp.squared_euclidean(x, y))"),
    (lambda: softdp.reference.soft_dtw(X, Y), "softdp.soft_dtw(softdp.squared_euclidean(x, y))"),
    (lambda: softdp.soft_dtw(MATCH, 0.5), "soft_dtw takes 1 argument by position (cost), got 2"),
    (lambda: softdp.soft_dtw(MATCH, 0.5), "gamma=0.5"),
    (lambda: softdp.lcs_score(X, Y, threshold=0.5), "of features write softdp.lcs_loss(x, y, target)"),
    (lambda: softdp.lcs_alignment(X, Y, threshold=0.5), "of features write softdp.lcs_loss(x, y, target)"),
    (lambda: softdp.lcs_score(MATCH, 0.9), "takes 1 argument by position (similarity), got 2"),
    (lambda: softdp.lcs_score(MATCH, 0.9), "threshold=0.9"),
    (lambda: softdp.lcs_path(MATCH, 0.9), "threshold=0.9"),
    (lambda: softdp.reference.lcs_score(MATCH, 0.9), "threshold=0.9"),
    (lambda: softdp.needleman_wunsch(MATCH, -1.0, 0.1), "takes 2 arguments by position (match, gap), got 3"),
    (lambda: softdp.needleman_wunsch(MATCH, -1.0, 0.1), "gamma=0.1"),
    (lambda: softdp.fsd_score(MATCH, -1.0, MATCH, 0.1), "gamma=0.1"),
    (lambda: softdp.fsd_score(X, Y), "y (B, M, D) write softdp.fsd_loss(x, y, target)"),
    (lambda: softdp.fsd_loss(X, Y), "fsd_loss: target is missing: a (B,) tensor of bool or 0/1"),
    (lambda: softdp.lcs_loss(x=X, y=Y), "lcs_loss: target is missing: a (B,) tensor of bool or 0/1"),
    (lambda: softdp.fsd_loss(X, Y, [0, 1]), "got list: write torch.tensor(target)"),
    (lambda: softdp.fsd_loss(X, Y, np.array([0, 1])), "got ndarray: write torch.as_tensor(target)"),
    (lambda: softdp.fsd_loss(X, Y, torch.rand(2)), "target must be bool or hold only 0 and 1, got 0."),
    # one pair, too many dimensions, other types
    (lambda: softdp.fsd_score(MATCH[0], 0.0), "got shape (3, 4): one pair is match[None]"),
    (lambda: softdp.lcs_score(MATCH[0], threshold=0.5), "one pair is similarity[None]"),
    (lambda: softdp.soft_dtw(MATCH[0]), "one pair is cost[None]"),
    (lambda: softdp.needleman_wunsch(MATCH[0], 0.0), "one pair is match[None]"),
    (lambda: softdp.squared_euclidean(X[0], Y[0]), "one pair is x[None]"),
    (lambda: softdp.soft_dtw(MATCH[None]), "got shape (1, 2, 3, 4): cost.flatten(0, 1) makes one dimension"),
    (lambda: softdp.soft_dtw(MATCH.int()), "got torch.int32: write cost.float()"),
    (lambda: softdp.fsd_loss(X.long(), Y, None), "got torch.int64: write x.float()"),
    (lambda: softdp.soft_dtw(MATCH.numpy()), "got ndarray: write torch.as_tensor(cost)"),
    (lambda: softdp.soft_dtw(MATCH.tolist()), "got list: write torch.tensor(cost)"),
    (lambda: softdp.fsd_score(MATCH, [0.0]), "got list: write torch.tensor(insert)"),
    (lambda: softdp.fsd_score(MATCH, MATCH.double()), "got torch.float64: write insert.to(match.dtype)"),
    (lambda: softdp.fsd_score(MATCH, MATCH.int()), "got torch.int32: write insert.to(match.dtype)"),
    (lambda: softdp.soft_dtw(MATCH, x_lengths=[3, 2]), "got list: write torch.tensor(x_lengths)"),
    (lambda: softdp.soft_dtw(MATCH, x_lengths=3), "got int: write torch.full((2,), 3)"),
    (lambda: softdp.soft_dtw(MATCH, y_lengths=torch.ones(2)), "got torch.float32: write y_lengths.long()"),
    (lambda: softdp.soft_dtw(MATCH, y_lengths=np.array([1, 2])), "write torch.as_tensor(y_lengths)"),
    # numbers as tensors
    (lambda: softdp.soft_dtw(MATCH, gamma=torch.tensor(0.1)), "of shape (): write gamma=float(gamma)"),
    (lambda: softdp.lcs_score(MATCH, threshold=torch.tensor(0.1)), "write threshold=float(threshold)"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", SAYS_WHAT_TO_WRITE, ids=[m for _, m in SAYS_WHAT_TO_WRITE])
def test_an_error_says_what_to_write(call, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call()


FSD_FUNCTIONS = [softdp.fsd_score, softdp.fsd_alignment, softdp.fsd_path, softdp.reference.fsd_score]


@pytest.mark.parametrize("function", FSD_FUNCTIONS, ids=lambda f: f"{f.__module__}.{f.__name__}")
@pytest.mark.parametrize("number", [0.1, 1, np.float32(0.5)], ids=str)
def test_a_number_for_delete_comes_by_name(function, number):
    """It is what gamma would be: fsd_score(c, -0.5, 0.1) used to take 0.1 for the gap, without a word."""
    match = torch.rand(2, 3, 4)
    with pytest.raises(TypeError) as error:
        function(match, -0.5, number)
    said = str(error.value)
    assert f"{function.__name__}: delete must be given by name where it is a number" in said
    assert f"write delete={number!r} if a second gap is meant" in said
    assert (f"gamma={number!r} if the smoothing is" in said) == (function.__name__ != "fsd_path")
    by_name, by_position = (
        function(match, -0.5, delete=number),
        function(match, -0.5, torch.tensor(float(number))),
    )
    pairs = zip(by_name, by_position, strict=True) if isinstance(by_name, tuple) else [(by_name, by_position)]
    assert all(torch.equal(a, b) for a, b in pairs)


def test_plots_want_delete_by_name():
    plot = pytest.importorskip("softdp.plot", reason="needs matplotlib")
    with pytest.raises(
        TypeError, match=r"fsd_pair: delete must be given by name .* gamma=0.1 if the smoothing"
    ):
        plot.fsd_pair(MATCH, -0.5, 0.1)


def test_explained_functions_keep_their_signatures():
    assert str(inspect.signature(softdp.fsd_score)) == (
        "(match: 'Tensor', insert: 'Tensor | float', delete: 'Tensor | float | None' = None, *, "
        "gamma: 'float' = 0.1, boundary: 'str' = 'free', x_lengths: 'Tensor | None' = None, "
        "y_lengths: 'Tensor | None' = None) -> 'Tensor'"
    )
    for function in (*FSD_FUNCTIONS, softdp.lcs_score, softdp.soft_dtw, softdp.fsd_loss):
        assert function.__doc__ and function.__name__ in repr(function)
        assert function.__globals__["__name__"] == function.__module__  # doctest then finds its example


GAMMAS = {  # a message's variables, and the function by them at a gamma
    "fsd_score": lambda v, gamma: softdp.fsd_score(v["match"], v["insert"], gamma=gamma),
    "fsd_alignment": lambda v, gamma: softdp.fsd_alignment(v["match"], v["insert"], gamma=gamma),
    "lcs_score": lambda v, gamma: softdp.lcs_score(v["similarity"], threshold=v["threshold"], gamma=gamma),
    "lcs_alignment": lambda v, gamma: softdp.lcs_alignment(
        v["similarity"], threshold=v["threshold"], gamma=gamma
    ),
    "soft_dtw": lambda v, gamma: softdp.soft_dtw(v["cost"], gamma=gamma),
    "needleman_wunsch": lambda v, gamma: softdp.needleman_wunsch(v["match"], v["gap"], gamma=gamma),
    "soft_dtw_divergence": lambda v, gamma: softdp.soft_dtw_divergence(v["x"], v["y"], gamma=gamma),
}


ONE_A_PAIR = [(name, (2,)) for name in GAMMAS if not name.startswith("lcs")]  # their threshold is one number


@pytest.mark.parametrize("name, shape", [*((name, ()) for name in GAMMAS), *ONE_A_PAIR], ids=str)
def test_a_gamma_to_train_gets_the_call_that_trains_it(name, shape):
    """The message's own call: its value is that at gamma, its derivative the difference quotient."""
    v = {k: torch.rand(2, 4, 5, dtype=torch.float64) for k in ("match", "cost", "similarity", "x", "y")}
    v |= {"insert": -v["match"].flip(1), "gap": torch.tensor([-0.3, -0.2]).double().view(2, 1, 1)}
    v |= {"threshold": 0.6, "torch": torch, "softdp": softdp}
    at = torch.full(shape, 0.4, dtype=torch.float64)
    g = at.clone().requires_grad_()
    with pytest.raises(TypeError, match="gamma must be a number, got a tensor of shape") as error:
        GAMMAS[name](v, g)
    call = re.search("with g for it, write (.*)$", str(error.value))[1]
    assert f"softdp.{name}(" in call
    found = eval(call, v | {"g": g})
    close(found, GAMMAS[name](v, 0.4), 1e-9)
    (slope,) = torch.autograd.grad(found.sum(), g)
    step = 1e-5
    quotient = (GAMMAS[name](v, 0.4 + step) - GAMMAS[name](v, 0.4 - step)) / (2 * step)
    close(slope.sum(), quotient.sum(), 1e-4)


@pytest.mark.parametrize("loss", [softdp.FSDLoss, softdp.LCSLoss])
def test_a_module_of_a_gamma_to_train_says_what_to_write(loss):
    with pytest.raises(TypeError, match=r"with g for it, write g \* softdp\.(fsd|lcs)_score\("):
        loss(gamma=torch.nn.Parameter(torch.tensor(0.1)))


@pytest.mark.parametrize("module", [softdp.FSDLoss, softdp.LCSLoss])
def test_modules_check_when_they_are_made(module):
    with pytest.raises(ValueError, match="gamma must be finite"):
        module(gamma=-1)
    with pytest.raises(ValueError, match="reduction must be"):
        module(reduction="average")
    if module is softdp.LCSLoss:
        with pytest.raises(ValueError, match="threshold must not be NaN"):
            module(threshold=float("nan"))


def forward(match=MATCH, insert=MATCH, delete=None, x=None, y=None, save=True, gamma=0.1):
    return torch.ops.softdp.fsd_forward(match, insert, delete, x, y, gamma, False, save)


def double_backward(gamma):
    options = None, None, None, gamma, False, True, True, False
    return torch.ops.softdp.fsd_double_backward(MATCH, MATCH, None, torch.ones(2), MATCH, MATCH, *options)


def lcs_forward(threshold=0.5, gamma=0.1):
    return torch.ops.softdp.lcs_forward(MATCH, None, None, threshold, gamma, True)


def backward(save=True, grad=None, match=MATCH, insert=MATCH):
    score, saved = forward(save=save)
    grad = score if grad is None else grad
    needs = True, True, False
    return torch.ops.softdp.fsd_backward(grad, saved, match, insert, None, None, None, 0.1, False, *needs)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: forward(match=MATCH[0]), "match must have 3 dimensions"),
        (lambda: forward(match=MATCH.int()), "match must be float64, float32, float16 or bfloat16"),
        (lambda: forward(insert=MATCH.double()), "insert must have the dtype of the scores"),
        (lambda: forward(insert=torch.zeros(2, 3, 5)), "insert must be broadcastable"),
        (lambda: forward(delete=torch.zeros(3, 3, 4)), "delete must be broadcastable"),
        (lambda: forward(x=torch.tensor([1, 9])), r"x_lengths must lie in \[0, 3\], got 9"),
        (lambda: forward(y=torch.tensor([1])), "y_lengths must be a CPU tensor of shape"),
        (lambda: forward(y=torch.ones(2)), "y_lengths must be int32 or int64"),
        (lambda: forward(gamma=-math.inf), "gamma must be finite and not negative, got inf"),
        (lambda: double_backward(gamma=-0.1), "gamma must be finite and not negative, got -0.1"),
        (lambda: forward(gamma=math.nan), "gamma must be finite and not negative, got nan"),
        (lambda: lcs_forward(gamma=math.inf), "gamma must be finite and not negative, got inf"),
        (lambda: lcs_forward(threshold=math.nan), "threshold must not be NaN"),
        (lambda: backward(save=False), "the saved state does not belong"),
        (lambda: backward(match=MATCH.double()), "insert must have the dtype of the scores"),
        (lambda: backward(match=MATCH.double(), insert=MATCH.double()), "gradient must be a CPU tensor"),
        (lambda: backward(match=torch.zeros(2, 3, 40)), "insert must be broadcastable"),
        (lambda: backward(match=torch.zeros(2, 30, 40), insert=MATCH[:, :1, :1]), "the saved state does not"),
        (lambda: backward(match=MATCH[0]), "match must have 3 dimensions"),
        (lambda: backward(insert=MATCH[:, :2]), "insert must be broadcastable"),
        (lambda: backward(insert=MATCH[0]), "insert must have 3 dimensions"),
        (lambda: backward(grad=torch.ones(3)), "gradient must be a CPU tensor of shape"),
        (lambda: backward(grad=torch.ones(2).double()), "gradient must be a CPU tensor of shape"),
    ],
)
def test_the_raw_operators_never_leave_their_tensors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()
