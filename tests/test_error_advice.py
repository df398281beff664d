"""What an error says to write is right: the calls and expressions of its message run."""

import re

import numpy as np
import pytest
import torch
from helpers import close
from test_errors import LOSS, MATCH
from torch.nn.utils.rnn import pack_sequence

import softdp

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
    (lambda: softdp.soft_dtw(MATCH, bandwidth=float("inf")), "got float: write bandwidth=None"),
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
    (lambda: softdp.SoftDTWLoss()(X, Y, 0.1), "got float; gamma goes by name, to a module when it is made"),
    (lambda: softdp.soft_dtw_loss(pack_sequence(list(X)), Y), "pad_packed_sequence(x, batch_first=True)"),
    (lambda: softdp.needleman_wunsch(MATCH, MATCH[0, 0]), "got shape (4,): write gap[None, None]"),
    (lambda: softdp.needleman_wunsch(MATCH, MATCH[0, :, 0]), "got shape (3,): write gap[None, :, None]"),
    (lambda: softdp.needleman_wunsch(MATCH, MATCH[:, :, 0]), "got shape (2, 3): write gap[:, :, None]"),
    (lambda: softdp.needleman_wunsch(MATCH, MATCH[:, 0]), "got shape (2, 4): write gap[:, None]"),
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


RAGGED = [torch.rand(n, 6) for n in (3, 2)]
TURNED = torch.rand(2, 6, 3), torch.rand(2, 6, 4)  # (B, D, N) and (B, D, M)
HALVES = torch.tensor([1.0, 0.5])


def pairs(x=None, y=None, **more):
    """Variables of a message: x (B, N, D), y (B, M, D) and others."""
    x, y = (torch.rand(2, 3, 6) if x is None else x), (torch.rand(2, 4, 6) if y is None else y)
    return {
        "torch": torch,
        "softdp": softdp,
        "x": x,
        "y": y,
        "match": MATCH,
        "target": LOSS["target"],
        **more,
    }


# The call, its message, and the variables that were wrong: the expressions after "write" must mend them.
WRITTEN = [
    (
        "softdp.fsd_score(match, 0.0, x_lengths=x_lengths)",
        pairs(x_lengths=HALVES),
        "got torch.float32: write .* if these are numbers of steps, (?P<x_lengths>.*) if they are fractions",
    ),
    (
        "softdp.fsd_score(match, 0.0, y_lengths=y_lengths)",
        pairs(y_lengths=HALVES),
        "write .* if these are numbers of steps, (?P<y_lengths>.*) if they are fractions",
    ),
    (
        "softdp.fsd_score(match, 0.0, y_lengths=y_lengths)",
        pairs(y_lengths=torch.tensor([3.0, 2.0])),
        "write (?P<y_lengths>.*) if these are numbers of steps",
    ),
    (
        "softdp.soft_dtw_divergence(x, y, y_lengths=y_lengths)",
        pairs(y_lengths=HALVES),
        "write .* if these are numbers of steps, (?P<y_lengths>.*) if they are fractions",
    ),
    (
        "softdp.fsd_score(match, 0.0, x_lengths=x_lengths)",
        pairs(x_lengths=torch.tensor([3, 2], dtype=torch.int16)),
        "got torch.int16: write (?P<x_lengths>.*)",
    ),
    (
        "softdp.fsd_score(match, 0.0, x_lengths=x_lengths)",
        pairs(x_lengths=torch.tensor([[True, True, False], [True, False, False]])),
        r"must be the number of steps of each pair, shape \(2,\), got a mask of shape \(2, 3\): "
        "write (?P<x_lengths>.*), or .* if True marks padding",
    ),
    (
        "softdp.fsd_score(match, 0.0, x_lengths=x_lengths)",
        pairs(x_lengths=torch.tensor([[False, False, True], [True, True, True]])),
        "write .*, or (?P<x_lengths>.*) if True marks padding",
    ),
    (
        "softdp.fsd_score(match, 0.0, y_lengths=y_lengths)",
        pairs(y_lengths=torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])),
        r"must have shape \(2,\), got \(2, 4\): write (?P<y_lengths>.*) if it is a mask",
    ),
    (
        "softdp.fsd_score(match, 0.0, y_lengths=y_lengths)",
        pairs(y_lengths=torch.tensor([[1], [4]])),
        r"must have shape \(2,\), got \(2, 1\): write (?P<y_lengths>.*)",
    ),
    (
        "softdp.soft_dtw_divergence(x, y)",
        pairs(x=RAGGED),
        "got a list of tensors: write (?P<x>.*) and give x_lengths",
    ),
    (
        "softdp.fsd_loss(x, y, target)",
        pairs(y=RAGGED),
        "got a list of tensors: write (?P<y>.*) and give y_lengths",
    ),
    (
        "softdp.soft_dtw_divergence(x, y)",
        pairs(x=[t.numpy() for t in RAGGED]),
        "got a list of arrays: write (?P<x>.*) and give x_lengths",
    ),
    (
        "softdp.soft_dtw_divergence(x, y)",
        pairs(torch.rand(2, 3), torch.rand(2, 4, 1)),
        r"got shape \(2, 3\): one pair is x\[None\]; of sequences of one feature it is (?P<x>.*)",
    ),
    (
        "softdp.fsd_score(match, 0.0)",
        pairs(match=[torch.rand(3, 4), torch.rand(3, 4)]),
        "match must be a tensor .*, got a list of tensors: write (?P<match>.*)",
    ),
    (
        "softdp.fsd_score(match, 0.0, x_lengths=x_lengths)",
        pairs(x_lengths=[torch.tensor(3), torch.tensor(2)]),
        "got a list of tensors: write (?P<x_lengths>.*)",
    ),
    (
        "softdp.soft_dtw_divergence(x, y)",
        pairs(*TURNED),
        r"\(2, 6, 3\) and \(2, 6, 4\): if features come before steps, write (?P<x>.*) and (?P<y>.*)",
    ),
    (
        "softdp.lcs_loss(x, y, target)",
        pairs(target=torch.tensor([[1], [0]])),
        r"target must have shape \(2,\), got \(2, 1\): write (?P<target>.*)",
    ),
    (
        "softdp.lcs_loss(x, y, target)",
        pairs(target=torch.tensor([-1, 1])),
        "target must be bool or hold only 0 and 1, got -1: write (?P<target>.*)",
    ),
]  # fmt: skip


@pytest.mark.parametrize("call, given, message", WRITTEN, ids=[f"{c}-{m}" for c, _, m in WRITTEN])
def test_what_an_error_says_to_write_works(call, given, message):
    with pytest.raises((TypeError, ValueError)) as error:
        eval(call, dict(given))
    found = re.search(message, str(error.value))
    assert found, str(error.value)
    mended = {name: eval(text, dict(given)) for name, text in found.groupdict().items()}
    assert mended and eval(call, {**given, **mended}).isfinite().all()


def test_fractions_and_masks_become_the_lengths_they_stand_for():
    match = torch.rand(2, 10, 4)
    expected = softdp.fsd_score(match, 0.0, x_lengths=torch.tensor([10, 7]))
    for given, text in (
        (torch.tensor([1.0, 0.7]), "(x_lengths * match.shape[1]).round().long()"),
        (torch.arange(10) < torch.tensor([[10], [7]]), "x_lengths.sum(1)"),
        (torch.arange(10) >= torch.tensor([[10], [7]]), "(~x_lengths).sum(1)"),
    ):
        with pytest.raises(TypeError, match=re.escape(text)):
            softdp.fsd_score(match, 0.0, x_lengths=given)
        lengths = eval(text, {"x_lengths": given, "match": match})
        assert torch.equal(softdp.fsd_score(match, 0.0, x_lengths=lengths), expected)


def test_lengths_from_before_an_encoder_are_told_from_wrong_ones():
    with pytest.raises(ValueError, match=r"lie in \[0, 3\], got 40: x has 3 steps; if an encoder changed"):
        softdp.soft_dtw_divergence(X, Y, x_lengths=torch.tensor([40, 2]))
    with pytest.raises(ValueError, match=r"lie in \[0, 4\], got 5: y has 4 steps; if an encoder"):
        softdp.fsd_score(MATCH, 0.0, y_lengths=torch.tensor([5, 2]))
    with pytest.raises(ValueError, match="got -1$"):
        softdp.fsd_score(MATCH, 0.0, y_lengths=torch.tensor([-1, 2]))


def test_other_sizes_and_labels_get_no_advice():
    for y in (torch.rand(2, 4, 8), torch.rand(3, 4, 6)):
        with pytest.raises(ValueError, match=r"must agree in B and D, got .*\)$"):
            softdp.soft_dtw_divergence(X, y)
    for target, end in ((torch.tensor([[0, 1]]), r"got \(1, 2\)$"), (torch.tensor([-1, 0]), "got -1$")):
        with pytest.raises(ValueError, match=end):
            softdp.fsd_loss(X, Y, target)


LENGTH = torch.tensor([3, 2])
BY_NAME = [
    (
        "softdp.soft_dtw_divergence(x, y, 0.1)",
        r"takes 2 arguments by position \(x, y\), got 3: ",
        "gamma=0.1",
    ),
    ("softdp.soft_dtw_divergence(x, y, 0.1, n, n)", "got 5", "gamma=0.1, x_lengths=..., y_lengths=..."),
    ("softdp.soft_dtw_divergence(x, y, n, n)", "got 4", "x_lengths=..., y_lengths=..."),
    ("softdp.squared_euclidean(x, y, n)", "got 3", "x_lengths=..."),
    ("softdp.soft_dtw(match, n)", "got 2", "x_lengths=..."),
    ("softdp.lcs_score(match, 0.9, 0.2)", "got 3", "threshold=0.9, gamma=0.2"),
    ("softdp.fsd_loss(x, y, target, 'sum')", "got 4", "reduction='sum'"),
    ("softdp.fsd_score(match, -0.5, match, 0.1, 'anchored')", "got 5", "gamma=0.1, boundary='anchored'"),
]


@pytest.mark.parametrize("call, takes, written", BY_NAME, ids=[c for c, *_ in BY_NAME])
def test_arguments_by_position_are_written_by_name(call, takes, written):
    with pytest.raises(TypeError, match=takes) as error:
        eval(call, pairs(n=LENGTH))
    assert str(error.value).endswith(": the others go by name, " + written)
    first = re.match(r"(.*?\((?:x, y, target|match, -0.5, match|x, y|match))", call)[1]
    assert eval(f"{first}, {written.replace('...', 'n')})", pairs(n=LENGTH)) is not None


MISSING = [
    ("softdp.fsd_score(match", "insert is missing: the score of skipping a step, such as -0.5 (0.0 for none)",
     ", -0.5"),
    ("softdp.fsd_path(match", "fsd_path: insert is missing: the score of skipping a step", ", insert=0.0"),
    ("softdp.needleman_wunsch(match", "gap is missing: the score of skipping a step, such as -0.5", ", -0.5"),
    ("softdp.lcs_score(match", "lcs_score: threshold is missing: the similarity from", ", threshold=0.9"),
    ("softdp.reference.lcs_score(match", "such as threshold=0.9", ", threshold=0.9"),
    ("softdp.soft_dtw(", "such as softdp.squared_euclidean(x, y)", "softdp.squared_euclidean(x, y)"),
    ("softdp.soft_dtw_divergence(x", "soft_dtw_divergence: y is missing: the features of the other", ", y"),
    ("softdp.squared_euclidean(y=y", "squared_euclidean: x is missing: the features of one", ", x=x"),
    ("softdp.fsd_loss(x, y", "fsd_loss: target is missing: a (B,) tensor of bool or 0/1", ", target"),
]  # fmt: skip


@pytest.mark.parametrize("call, message, rest", MISSING, ids=[c for c, *_ in MISSING])
def test_a_missing_argument_is_said_to_be_what_it_is(call, message, rest):
    with pytest.raises(TypeError, match=re.escape(message)):
        eval(call + ")", pairs())
    assert eval(f"{call}{rest})", pairs()) is not None


UNEXPECTED = [
    ("softdp.soft_dtw(match, normalize=True)", "soft_dtw has no normalize: write (.*)"),
    ("softdp.soft_dtw(match, dist_func=abs)", "soft_dtw has no dist_func: write (.*)"),
    ("softdp.soft_dtw_divergence(x, y, normalize=True)", "has no normalize: write (.*)"),
    ("softdp.fsd_score(match, 0.0, lengths=n)", "fsd_score has no lengths: write (.*) and (.*), or"),
    ("softdp.fsd_path(match, 0.0, gamma=0.1)", "fsd_path has no gamma: .*; softdp.fsd_alignment takes"),
    ("softdp.lcs_path(match, threshold=0.5, gamma=0.1)", "gamma 0; softdp.lcs_alignment takes a gamma"),
    ("softdp.lcs_score(match, threshold=0.5, boundary='free')",
     "^lcs_score has no boundary: its arguments are similarity, threshold, gamma, bandwidth, "),
    ("softdp.fsd_score(match, gap=0.5)", "fsd_score has no gap: its arguments are match, insert, delete,"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", UNEXPECTED, ids=[c for c, _ in UNEXPECTED])
def test_an_argument_of_other_functions_gets_what_to_write(call, message):
    with pytest.raises(TypeError) as error:
        eval(call, pairs(n=LENGTH))
    found = re.search(message, str(error.value))
    assert found, str(error.value)
    given = pairs(cost=MATCH, dist_func=softdp.squared_euclidean, lengths=LENGTH)
    for written in found.groups():
        if written.startswith("softdp."):
            assert eval(written, given).isfinite().all()
        else:
            assert eval(f"softdp.fsd_score(match, 0.0, {written})", given).isfinite().all()


def test_arguments_of_soft_dtw_loss_without_a_name_get_theirs():
    x = torch.zeros(1, 2, 3)
    for value, written in (("euclidean", "cost='euclidean'"), ("sum", "reduction='sum'"), (0.1, "gamma=0.1")):
        with pytest.raises(TypeError, match=f"the others go by name, {written}$"):
            softdp.soft_dtw_loss(x, x, value)
    with pytest.raises(TypeError, match="the others go by name, normalize=..., x_lengths=...$"):
        softdp.soft_dtw_loss(x, x, True, torch.ones(1))
    with pytest.raises(TypeError, match="the others go by name, cost=...$"):
        softdp.soft_dtw_loss(x, x, torch.cdist)
    with pytest.raises(TypeError, match="soft_dtw_loss has no dist_func: write cost=dist_func$"):
        softdp.soft_dtw_loss(x, x, dist_func=torch.cdist)


def test_names_of_other_libraries_get_what_to_write():
    for name, arguments in (("dtw", "cost"), ("SoftDTW", "x, y")):
        with pytest.raises(
            AttributeError, match=f"^module 'softdp' has no attribute '{name}': write"
        ) as error:
            getattr(softdp, name)
        written = re.search(r"write ([^;]*)", str(error.value))[1]
        assert arguments in written and eval(written, pairs(cost=MATCH)).isfinite().all()
    with pytest.raises(AttributeError, match="^module 'softdp' has no attribute 'nothing'$"):
        softdp.nothing  # noqa: B018
    assert not hasattr(softdp, "nothing")


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


def test_a_gamma_to_train_beside_one_gap_per_pair():
    match, gap = torch.rand(3, 3, 3, dtype=torch.float64), torch.tensor([-0.3, -0.2, -0.1]).double()
    g = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64, requires_grad=True)
    with pytest.raises(TypeError, match="gamma must be a number, got a tensor of shape") as error:
        softdp.needleman_wunsch(match, gap, gamma=g)
    call = re.search("with g for it, write (.*)$", str(error.value))[1]
    found = eval(call, {"softdp": softdp, "match": match, "gap": gap, "g": g})
    each = [softdp.needleman_wunsch(match[i : i + 1], gap[i : i + 1], gamma=g[i].item()) for i in range(3)]
    close(found, torch.cat(each), 1e-9)


@pytest.mark.parametrize("loss", [softdp.FSDLoss, softdp.LCSLoss])
def test_a_module_of_a_gamma_to_train_says_what_to_write(loss):
    with pytest.raises(TypeError, match=r"with g for it, write g \* softdp\.(fsd|lcs)_score\("):
        loss(gamma=torch.nn.Parameter(torch.tensor(0.1)))


def test_a_gamma_to_train_beside_insert_and_delete():
    match, insert = torch.rand(2, 3, 3, dtype=torch.float64) - 0.5, torch.tensor([-0.3, -0.2]).double()
    g = torch.tensor([0.2, 0.4], dtype=torch.float64, requires_grad=True)
    v = {"softdp": softdp, "match": match, "insert": insert, "delete": -0.7, "gap_open": -1.0, "g": g}
    gaps = {"delete": v["delete"], "gap_open": v["gap_open"]}
    with pytest.raises(TypeError, match="gamma must be a number, got a tensor of shape") as error:
        softdp.smith_waterman(match, insert, **gaps, gamma=g)
    found = eval(re.search("with g for it, write (.*)$", str(error.value))[1], v)
    each = [softdp.smith_waterman(match[[i]], insert[[i]], **gaps, gamma=g[i].item()) for i in range(2)]
    close(found, torch.cat(each), 1e-9)
