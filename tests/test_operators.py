"""The operators themselves: opcheck, and calls with tensors that do not fit."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from devices import GPU, is_gpu, values

from softdp._recurrences import BOUNDARIES

STEPS = ("forward", "backward", "double_backward")
OPERATORS = tuple(
    f"{recurrence}_{step}" for recurrence in ("fsd", "lcs", "needleman_wunsch", "affine") for step in STEPS
)
MATCH = torch.zeros(2, 3, 4)
FREE, ANCHORED, SUBSEQUENCE, OVERLAP, GLOBAL, LOCAL = range(len(BOUNDARIES))
NO_BAND = -1

FEW = ((5, torch.float64), (33, torch.float32))  # rows and dtypes


def operator_calls(device):
    """Names and arguments; `saved` comes from the forward operator, which alone knows its layout."""
    n, m = torch.tensor([5, 2, 0], device=device), torch.tensor([7, 3, 4], dtype=torch.int32, device=device)
    dtypes, sizes = (torch.float32, torch.float64), ((5, 7),)
    if is_gpu(device):
        dtypes, sizes = (*dtypes, torch.bfloat16), (*sizes, (33, 40))
    for dtype, (N, M) in itertools.product(dtypes, sizes):
        match, gaps = (values(*size, dtype=dtype).to(device) for size in ((3, N, M), (1, N, 1)))
        for delete, lengths in itertools.product((None, match.clone()), ((None, None), (n, m))):
            open_ends = (SUBSEQUENCE, OVERLAP) if lengths[0] is not None and delete is not None else ()
            # Of a GPU's calls, which are many, some.
            several_states = not is_gpu(device) or (open_ends and (N, dtype) in FEW)
            local = (LOCAL,) if open_ends and several_states else ()
            for boundary in (ANCHORED, *open_ends, *local):
                yield from fsd_calls(match, gaps, delete, lengths, boundary)
            for boundary in (GLOBAL, *open_ends, *local):
                yield from alignment_calls("needleman_wunsch", (match, gaps, delete), lengths, boundary)
                if several_states and not (is_gpu(device) and boundary in open_ends):
                    opened = gaps[:, :1, :1] - 1
                    yield from alignment_calls("affine", (match, gaps, delete, opened), lengths, boundary)
        yield from lcs_calls(match, n, m)


def fsd_calls(match, gaps, delete, lengths, boundary):
    for save in (False, True):
        yield (
            "fsd_forward",
            (match, gaps, delete, *lengths, 0.2, boundary if save else FREE, NO_BAND, save, save),
        )
    score, saved = torch.ops.softdp.fsd_forward(
        match, gaps, delete, *lengths, 0.2, boundary, NO_BAND, False, True
    )
    scores = match, gaps, delete
    for needs in ((True, True, True), (False, True, False)):
        given = torch.ones_like(score), saved, *scores, *lengths, 0.2, boundary, NO_BAND, False
        yield "fsd_backward", (*given, *needs)
    if match.dtype != torch.bfloat16:
        for needs in ((True, True, True), (False, True, False), (True, False, delete is not None)):
            directions = match.neg(), gaps if needs[0] else None, delete
            given = *directions, torch.ones_like(score), *scores, *lengths, 0.2, boundary, NO_BAND, needs[2]
            yield "fsd_double_backward", (*given, *needs)


def alignment_calls(name, scores, lengths, boundary):
    """Of needleman_wunsch and of affine, whose scores have one more gap."""
    options = 0.2, boundary, NO_BAND
    for save in (False, True):
        yield f"{name}_forward", (*scores, *lengths, *options, save)
    score, saved = getattr(torch.ops.softdp, f"{name}_forward")(*scores, *lengths, *options, True)
    match, gaps, *others = scores
    for needs in ([True] * len(scores), [False, True, *(False for _ in others)]):
        given = torch.ones_like(score), saved, *scores, *lengths, *options
        yield f"{name}_backward", (*given, *needs)
        if match.dtype != torch.bfloat16:
            directions = match.neg(), gaps if needs[0] else None, *others
            given = *directions, torch.ones_like(score), *scores, *lengths, *options
            yield f"{name}_double_backward", (*given, *needs)


def lcs_calls(match, n, m):
    for save in (False, True):
        yield "lcs_forward", (match, n, m, 0.4, 0.2, NO_BAND, save)
    score, saved = torch.ops.softdp.lcs_forward(match, n, m, 0.4, 0.2, NO_BAND, True)
    for visits in (False, True):
        given = torch.ones_like(score), saved, match, n, m, 0.4, 0.2, NO_BAND
        yield "lcs_backward", (*given, visits)
    if match.dtype != torch.bfloat16:
        for need in (True, False):
            given = match.neg(), torch.ones_like(score), match, n, m, 0.4, 0.2, NO_BAND
            yield "lcs_double_backward", (*given, need)


def test_opcheck_of_paths(device):
    match, gap = values(3, 5, 7, dtype=torch.float32).to(device), torch.zeros(1, 1, 1, device=device)
    n, m = torch.tensor([5, 2, 0], device=device), torch.tensor([7, 3, 4], device=device)
    calls = (0, ANCHORED), (0, OVERLAP), (1, FREE), (2, GLOBAL), (2, SUBSEQUENCE), (2, LOCAL), (3, LOCAL)
    for recurrence, boundary in calls:
        opened = gap - 1 if recurrence == 3 else None
        if is_gpu(device):
            scores = (match,) if recurrence == 1 else (match, gap, gap)
            scores += () if opened is None else (opened,)
            options = (0.5, 0.0, NO_BAND) if recurrence == 1 else (0.0, boundary, NO_BAND)
            options += (False,) * (recurrence == 0)
            name = ("fsd", "lcs", "needleman_wunsch", "affine")[recurrence]
            score, saved = getattr(torch.ops.softdp, f"{name}_forward")(*scores, n, m, *options, True)
            arguments = saved, score, n, m, 5, 7, recurrence, boundary, NO_BAND
            torch.library.opcheck(torch.ops.softdp.trace_path.default, arguments)
        else:
            arguments = match, gap, gap, opened, n, m, recurrence, 0.5, boundary, NO_BAND, False
            torch.library.opcheck(torch.ops.softdp.best_path.default, arguments)


@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name, device):
    calls = [arguments for operator, arguments in operator_calls(device) if operator == name]
    assert calls
    for arguments in calls:
        torch.library.opcheck(getattr(torch.ops.softdp, name).default, arguments)


# The warning is opcheck's own.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", [name for name in OPERATORS if "double" not in name])
def test_opcheck_with_gradients(name, device):
    checked = 0
    for operator, arguments in operator_calls(device):
        last = arguments[-1]
        without = (name.endswith("forward") and not last) or (name == "lcs_backward" and last)  # save, visits
        if operator == name and not without:
            checked += 1
            leaves = [
                a.clone().requires_grad_() if torch.is_tensor(a) and a.is_floating_point() else a
                for a in arguments
            ]
            torch.library.opcheck(getattr(torch.ops.softdp, name).default, tuple(leaves))
    assert checked


# ---- calls that do not fit -----------------------------------------------------------------------


def forward(
    match=MATCH, insert=MATCH, delete=None, x=None, y=None, save=True, gamma=0.1, boundary=FREE, band=NO_BAND
):
    return torch.ops.softdp.fsd_forward(match, insert, delete, x, y, gamma, boundary, band, False, save)


def double_backward(gamma):
    options = None, None, None, gamma, FREE, NO_BAND, False, True, True, False
    return torch.ops.softdp.fsd_double_backward(MATCH, MATCH, None, torch.ones(2), MATCH, MATCH, *options)


def lcs_forward(threshold=0.5, gamma=0.1):
    return torch.ops.softdp.lcs_forward(MATCH, None, None, threshold, gamma, NO_BAND, True)


def best_path(match=MATCH, insert=MATCH, opened=None, x=None, recurrence=0, boundary=FREE, band=NO_BAND):
    options = recurrence, 0.5, boundary, band, False
    return torch.ops.softdp.best_path(match, insert, insert, opened, x, None, *options)


def affine(insert=MATCH, opened=MATCH, boundary=GLOBAL, band=NO_BAND):
    options = 0.1, boundary, band, True
    return torch.ops.softdp.affine_forward(MATCH, insert, None, opened, None, None, *options)


def backward(save=True, grad=None, match=MATCH, insert=MATCH, boundary=FREE, band=NO_BAND):
    score, saved = forward(save=save)
    grad = score if grad is None else grad
    needs = True, True, False
    return torch.ops.softdp.fsd_backward(
        grad, saved, match, insert, None, None, None, 0.1, boundary, band, False, *needs
    )


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
        (lambda: forward(gamma=-math.inf), "gamma must be finite and not negative, got -inf"),
        (lambda: forward(boundary=6), r"boundary must lie in \[0, 6\), got 6"),
        (lambda: forward(boundary=-1), r"boundary must lie in \[0, 6\), got -1"),
        (lambda: forward(boundary=GLOBAL), "boundary must not be 4: this recurrence charges no gaps there"),
        (lambda: backward(boundary=OVERLAP), "the saved state does not belong"),
        (lambda: forward(band=-2), "bandwidth must be -1 or more, got -2"),
        (lambda: forward(boundary=LOCAL, band=2), "a local recurrence has no bandwidth, got 2"),
        (lambda: affine(boundary=LOCAL, band=2), "a local recurrence has no bandwidth, got 2"),
        (lambda: best_path(boundary=LOCAL, band=2), "a local recurrence has no bandwidth, got 2"),
        (lambda: best_path(band=-2), "bandwidth must be -1 or more, got -2"),
        (lambda: backward(boundary=LOCAL), "the saved state does not belong"),
        (lambda: affine(opened=torch.zeros(2, 3, 5)), "open must be broadcastable"),
        (lambda: affine(opened=MATCH.double()), "open must have the dtype of the scores"),
        (lambda: affine(opened=MATCH[0]), "open must have 3 dimensions"),
        (lambda: affine(insert=MATCH[:, :2]), "insert must be broadcastable"),
        (lambda: best_path(recurrence=4), "recurrence must be 0 to 3, got 4"),
        (lambda: best_path(recurrence=3, boundary=GLOBAL), "open must be given with affine gaps"),
        (lambda: best_path(opened=MATCH), "open must be given with affine gaps, and not without"),
        (lambda: best_path(recurrence=1, boundary=LOCAL), "there is no local recurrence"),
        (lambda: best_path(boundary=7), r"boundary must lie in \[0, 6\), got 7"),
        (lambda: best_path(x=torch.tensor([1, 9])), r"x_lengths must lie in \[0, 3\], got 9"),
        (lambda: best_path(insert=torch.zeros(2, 3, 5)), "insert must be broadcastable"),
        (lambda: best_path(insert=MATCH.double()), "insert must have the dtype of match"),
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
def test_the_raw_operators_of_the_cpu_never_leave_their_tensors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


def test_the_raw_operators_never_leave_their_tensors(device):
    match = MATCH.to(device)
    forward, backward = torch.ops.softdp.fsd_forward, torch.ops.softdp.fsd_backward
    three = torch.ones(3, dtype=torch.int32, device=device)
    options = (0.1, FREE, NO_BAND, False, True)
    for call, message in (
        (lambda: forward(match[0], match, None, None, None, *options), "match"),
        (lambda: forward(match, match.double(), None, None, None, *options), "insert"),
        (lambda: forward(match, match, match[:, :, :3], None, None, *options), "delete"),
        (lambda: forward(match, match, None, None, None, math.nan, FREE, NO_BAND, False, True), "gamma"),
        (lambda: forward(match, match, None, None, None, 0.1, 6, NO_BAND, False, True), "boundary"),
        (lambda: torch.ops.softdp.lcs_forward(match, None, None, math.nan, 0.1, NO_BAND, True), "threshold"),
        (lambda: forward(match, match, None, three, None, *options), "x_lengths"),
        (lambda: forward(match, match, None, None, match[:, 0, 0], *options), "y_lengths"),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()
    score, saved = forward(match, match, None, None, None, *options)
    rest = None, None, None, 0.1, FREE, NO_BAND, False, True, True, False
    operator = "softdp::fsd_backward: .*" if is_gpu(device) else ""
    for grad_score, weights in ((score, saved[:0]), (score[:1], saved), (score.double(), saved)):
        with pytest.raises(RuntimeError, match=operator + "(saved|scores|gradient)"):
            backward(grad_score, weights, match, match, *rest)
    larger = torch.zeros(2, 40, 40, device=device)  # the CPU saves as much of all pairs of few steps
    for table, gaps in ((larger, larger), (match, larger), (match.double(), match), (match[0], match)):
        with pytest.raises(RuntimeError, match=operator + "(saved|insert|match|gradient)"):
            backward(score, saved, table, gaps, *rest)
    d_match, *_ = backward(torch.ones_like(score), saved, match, match, *rest)
    assert d_match[0, -1, -1] == 1  # and the device is well


@pytest.mark.cuda
def test_the_raw_operators_of_a_gpu_never_leave_their_tensors():
    """Half scores take no gaps of another half type; a tensor of the CPU does not fit a GPU's."""
    match = MATCH.to(GPU)
    forward, backward = torch.ops.softdp.fsd_forward, torch.ops.softdp.fsd_backward
    with pytest.raises(RuntimeError, match="gamma"):
        forward(match, match, None, None, None, -0.1, FREE, NO_BAND, False, True)
    with pytest.raises(RuntimeError, match="insert must have match's dtype"):
        forward(match.half(), match, None, None, None, 0.1, FREE, NO_BAND, False, True)
    if GPU.type == "cuda":
        with pytest.raises(RuntimeError, match="insert"):
            forward(match, MATCH, None, None, None, 0.1, FREE, NO_BAND, False, True)
        score, saved = forward(match, match, None, None, None, 0.1, FREE, NO_BAND, False, True)
        rest = None, None, None, 0.1, FREE, NO_BAND, False, True, True, False
        for grad_score, weights in ((score, saved.cpu()), (score.cpu(), saved)):
            with pytest.raises(RuntimeError, match="softdp::fsd_backward: .*(saved|scores)"):
                backward(grad_score, weights, match, match, *rest)
