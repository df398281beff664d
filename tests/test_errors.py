"""Bad input gets a Python error that names the argument, what was expected and what came."""

import math
import re

import pytest
import torch

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
