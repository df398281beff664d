"""Bad input gets a Python error that names the argument, what was expected and what came."""

import inspect
import re

import numpy as np
import pytest
import torch
from helpers import run_python

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
    (
        {"boundary": "open"},
        ValueError,
        'boundary must be "free", "anchored", "subsequence", "overlap" or "local", got \'open\'',
    ),
    (
        {"boundary": None},
        ValueError,
        'boundary must be "free", "anchored", "subsequence", "overlap" or "local", got None',
    ),
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
    (
        {"target": torch.tensor([1, 5])},
        ValueError,
        "if these are lengths, the target was left out, which comes ",
    ),
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


EXPLAINED = [
    getattr(library, name)
    for library in (softdp, softdp.reference)
    for name in library.__all__
    if hasattr(getattr(library, name), "__wrapped__")
]


@pytest.mark.parametrize("function", EXPLAINED, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_required_argument_is_described(function):
    required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    for name in required:
        others = {key: None for key in required if key != name}
        with pytest.raises(TypeError, match=f"^{function.__name__}: {name} is missing: "):
            function(**others)
    with pytest.raises(TypeError, match="got multiple values for argument"):  # which Python says itself
        function(None, **dict.fromkeys(required))


def test_a_type_error_from_inside_is_not_hidden(monkeypatch):
    """Neither its text nor where it comes from."""

    def broken(*args):
        raise TypeError("fsd_score() missing 1 required positional argument: 'insert'")

    monkeypatch.setattr("softdp._checks.fsd_arguments", broken)
    with pytest.raises(TypeError, match=r"^fsd_score\(\) missing 1 required positional argument") as error:
        softdp.fsd_score(MATCH, 0.0)
    assert error.traceback[-1].name == "broken" and error.value.__context__ is None


def test_an_explained_error_has_no_other_error_before_it():
    with pytest.raises(TypeError, match="insert is missing") as error:
        softdp.fsd_score(MATCH)
    assert error.value.__context__ is None


def test_softdp_plot_is_loaded_when_it_is_used():
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install ".[plot]"')
    code = (
        "import sys, softdp; print('matplotlib' in sys.modules); print(softdp.plot.matrix.__name__); "
        "print(softdp.plot is sys.modules['softdp.plot'])"
    )
    done = run_python("-c", code)
    assert done.stdout.split() == ["False", "matrix", "True"], done.stderr


def test_softdp_plot_without_matplotlib_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import softdp; softdp.plot"
    done = run_python("-c", code)
    assert 'softdp.plot needs matplotlib: pip install "softdp[plot]"' in done.stderr


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
    plot = pytest.importorskip("softdp.plot", reason='needs matplotlib: pip install ".[plot]"')
    with pytest.raises(
        TypeError, match=r"fsd_pair: delete must be given by name .* gamma=0.1 if the smoothing"
    ):
        plot.fsd_pair(MATCH, -0.5, 0.1)


def test_explained_functions_keep_their_signatures():
    assert str(inspect.signature(softdp.fsd_score)) == (
        "(match: 'Tensor', insert: 'Tensor | float', delete: 'Tensor | float | None' = None, *, "
        "gamma: 'float' = 0.1, boundary: 'str' = 'free', bandwidth: 'int | None' = None, "
        "x_lengths: 'Tensor | None' = None, y_lengths: 'Tensor | None' = None) -> 'Tensor'"
    )
    for function in (*FSD_FUNCTIONS, softdp.lcs_score, softdp.soft_dtw, softdp.fsd_loss):
        assert function.__doc__ and function.__name__ in repr(function)
        assert function.__globals__["__name__"] == function.__module__  # doctest then finds its example


@pytest.mark.parametrize("module", [softdp.FSDLoss, softdp.LCSLoss])
def test_modules_check_when_they_are_made(module):
    with pytest.raises(ValueError, match="gamma must be finite"):
        module(gamma=-1)
    with pytest.raises(ValueError, match="reduction must be"):
        module(reduction="average")
    if module is softdp.LCSLoss:
        with pytest.raises(ValueError, match="threshold must not be NaN"):
            module(threshold=float("nan"))
