"""Local alignments and affine gaps: paths, alignments, PyTorch's tools, losses, errors."""

import math

import oracle
import pytest
import torch
from families import FAMILIES, score_and_gradients, tables_of
from helpers import close, scores
from torch.func import grad, hessian, jacfwd, jacrev, vmap

import softdp
from softdp._recurrences import BOUNDARIES

F64 = torch.float64
every_family = pytest.mark.parametrize("name", FAMILIES)
PAIRS = {"x_lengths": torch.tensor([7, 3, 0, 7, 1]), "y_lengths": torch.tensor([9, 9, 5, 1, 0])}


def walked(path):
    """A path's steps as the oracle has them: the places from 1, 0 on the boundary."""
    return [(i + 1, j + 1, move) for i, j, move in path]


@every_family
@pytest.mark.parametrize("gaps", ["number", "mixed", "cells"])
@pytest.mark.parametrize("whole", [False, True], ids=["scores", "whole numbers"])
def test_a_best_path_adds_up_to_the_hard_score(name, gaps, whole, either):
    family, N, M = FAMILIES[name], 7, 9
    for _ in range(5):
        tables = tables_of(family, (5, N, M), gaps)
        if whole:  # many paths tie
            tables = {key: (2 * t).round() for key, t in tables.items()}
        tables["match"][3, 2, 0] = -math.inf
        given = {key: t.to(either) for key, t in tables.items()}
        path = family.path(softdp, given, **PAIRS)
        K = N + M - (family.boundary != "global")
        assert path.steps.shape == (5, K, 3) and path.steps.device.type == either.type
        score = family.score(softdp, given, gamma=0.0, **PAIRS).cpu()
        E = family.alignment(softdp, given, gamma=0.0, **PAIRS).cpu()
        full = {key: t.expand(5, N, M) for key, t in tables.items()}
        for b, steps in enumerate(map(walked, path.tolist())):
            n, m = PAIRS["x_lengths"][b].item(), PAIRS["y_lengths"][b].item()
            assert (path.steps[b, len(steps) :] == -1).all()
            if score[b] == -math.inf or (family.boundary != "global" and n * m == 0):
                assert steps == []
                continue
            cells = {key: t[b] for key, t in full.items()}
            cells.setdefault("delete", cells["insert"])
            terms = oracle.terms_of(steps, family.every_move, family.affine)
            total = sum(cells[table][i, j].item() for table, i, j in terms)
            assert total == pytest.approx(score[b].item(), rel=1e-12, abs=1e-12)
            if n * m < 16:
                assert steps in list(oracle.every_path(n, m, family.boundary))
            for (i, j, _), (k, q, move) in zip(steps, steps[1:], strict=False):
                assert (k - i, q - j) == oracle.STEP[move]
            taken = {(i, j) for i, j, move in steps if family.every_move or move == "match"}
            assert taken == {(i + 1, j + 1) for i, j in E[b].nonzero().tolist()}
            assert E[b].eq(1).sum() == len(taken)


@every_family
def test_paths_of_nan_and_of_no_path(name):
    family = FAMILIES[name]
    tables = tables_of(family, (3, 5, 6), "cells")
    tables["match"][0, 2, 2] = math.nan
    for table in tables.values():
        table[1] = -math.inf
    path = family.path(softdp, tables)
    assert path.lengths.tolist()[:2] == [0, 0] and path.lengths[2] > 0


def test_a_path_takes_the_first_of_equal_ends():
    match = torch.full((1, 3, 4), -1.0)
    match[0, 0, 3] = match[0, 1, 0] = match[0, 1, 2] = 1.0
    assert softdp.smith_waterman_path(match, -2.0).tolist() == [[(0, 3, "match")]]
    E = softdp.smith_waterman_alignment(match, -2.0, gamma=0.0)
    assert E[0].nonzero().tolist() == [[0, 3]]
    assert softdp.fsd_path(match, -2.0, boundary="local").tolist() == [[(0, 3, "match")]]


@every_family
def test_alignments_are_the_gradients_by_match(name, either):
    family = FAMILIES[name]
    for size in ((4, 7, 9), (2, 40, 50)):
        tables = {key: t.to(either) for key, t in tables_of(family, size, "mixed").items()}
        E = family.alignment(softdp, tables, gamma=0.3)
        _, gradients = score_and_gradients(family, softdp, tables, gamma=0.3)
        close(E, gradients["match"], 1e-12)
    leaves = {key: t.clone().requires_grad_() for key, t in tables.items()}
    E = family.alignment(softdp, leaves, gamma=0.3)
    by = torch.autograd.grad(E.square().sum(), list(leaves.values()))
    leaves = {key: t.clone().requires_grad_() for key, t in tables.items()}
    score = family.score(softdp.reference, leaves, gamma=0.3).sum()
    (E,) = torch.autograd.grad(score, leaves["match"], create_graph=True)
    for a, b in zip(by, torch.autograd.grad(E.square().sum(), list(leaves.values())), strict=True):
        close(a, b, 1e-8)


@every_family
def test_vmap_jacobians_and_compile(name):
    family = FAMILIES[name]
    for size in ((2, 3, 4), (2, 34, 40)):
        tables = tables_of(family, size, "rows")

        def score(match, tables=tables):
            return family.score(softdp, {**tables, "match": match}, gamma=0.3)

        match = tables["match"]
        stacked = torch.stack([match, match.flip(1)])
        close(vmap(score)(stacked), torch.stack([score(t) for t in stacked]), 1e-12)
        leaf = match.clone().requires_grad_()
        values = score(leaf)
        expected = torch.stack([torch.autograd.grad(s, leaf, retain_graph=True)[0] for s in values])
        close(jacrev(score)(match), expected, 1e-10)
        close(vmap(grad(lambda t: score(t).sum()))(stacked)[0], expected.sum(0), 1e-10)  # noqa: B023
        torch._dynamo.reset()
        compiled = torch.compile(score, backend="aot_eager", fullgraph=True)
        other = match.clone().requires_grad_()
        compiled(other).sum().backward()
        close(other.grad, expected.sum(0), 1e-12)
    small = tables_of(family, (1, 2, 3), "number")
    total = lambda t: family.score(softdp, {**small, "match": t}, gamma=0.3).sum()  # noqa: E731
    of_reference = lambda t: family.score(softdp.reference, {**small, "match": t}, gamma=0.3).sum()  # noqa: E731
    close(jacfwd(total)(small["match"]), grad(total)(small["match"]), 1e-10)
    found = hessian(total)(small["match"])
    close(found, torch.autograd.functional.hessian(of_reference, small["match"]), 1e-9)


def test_losses_from_features_take_the_local_boundary():
    x, y = (torch.randn(3, steps, 4, dtype=F64) for steps in (4, 7))
    unit = [torch.nn.functional.normalize(t, dim=2) for half in (x, y) for t in half.split(2, 2)]
    match, gap = unit[0] @ unit[2].mT, unit[1] @ unit[3].mT
    score = softdp.fsd_score(match, gap, boundary="local")
    target = torch.tensor([True, False, True])
    expected = score[1] - (score[0] + score[2]) / 2
    close(softdp.fsd_loss(x, y, target, boundary="local"), expected, 1e-9)
    close(softdp.FSDLoss(boundary="local")(x, y, target), expected, 1e-9)
    close(softdp.pairwise_fsd(x, y, boundary="local").diagonal(), score, 1e-9)


def test_local_scores_have_no_bandwidth():
    match, features = scores(2, 4, 5), torch.randn(2, 4, 6)
    for call in (
        lambda: softdp.fsd_score(match, -0.5, boundary="local", bandwidth=2),
        lambda: softdp.reference.fsd_score(match, -0.5, boundary="local", bandwidth=2),
        lambda: softdp.fsd_alignment(match, -0.5, boundary="local", bandwidth=2),
        lambda: softdp.fsd_path(match, -0.5, boundary="local", bandwidth=2),
        lambda: softdp.FSDLoss(boundary="local", bandwidth=2),
        lambda: softdp.fsd_loss(features, features, torch.ones(2), boundary="local", bandwidth=2),
        lambda: softdp.pairwise_fsd(features, boundary="local", bandwidth=2),
    ):
        with pytest.raises(ValueError, match='bandwidth must be None with the boundary "local", got 2'):
            call()


def test_what_is_saved():
    """Of each band of 16 rows but the first a state a column, with affine gaps four; and the rows' ends."""
    match, gap = scores(1, 160, 100, dtype=torch.float32), torch.full((1, 1, 1), -0.5)
    local = BOUNDARIES.index("local")
    _, saved = torch.ops.softdp.needleman_wunsch_forward(match, gap, None, None, None, 0.1, local, -1, True)
    assert saved.numel() == 64 + 9 * 100 * 16 + 160 * 4
    boundary = BOUNDARIES.index("global")
    _, saved = torch.ops.softdp.affine_forward(match, gap, None, gap, None, None, 0.1, boundary, -1, True)
    assert saved.numel() == 64 + 9 * 100 * 16 * 4


MATCH = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: softdp.smith_waterman(MATCH[0], -1.0), ValueError, "match must have 3 dimensions"),
        (lambda: softdp.smith_waterman(MATCH), TypeError, "smith_waterman: insert is missing"),
        (lambda: softdp.smith_waterman(MATCH, "x"), TypeError, "insert must be a number or a tensor"),
        (lambda: softdp.smith_waterman(MATCH, -1.0, -2.0), TypeError, "delete must be given by name"),
        (
            lambda: softdp.smith_waterman(MATCH, -1.0, gamma=-1),
            ValueError,
            "gamma must be finite and not neg",
        ),
        (
            lambda: softdp.smith_waterman(MATCH, -1.0, gap_open=torch.zeros(3)),
            ValueError,
            r"gap_open must be a number or one per pair, .*\(3,\): write gap_open\[None, :, None\]",
        ),
        (
            lambda: softdp.needleman_wunsch(MATCH, -1.0, gap_open=MATCH.double()),
            TypeError,
            "gap_open must have match's dtype torch.float32, got torch.float64",
        ),
        (
            lambda: softdp.needleman_wunsch(MATCH, -1.0, gap_open=[1]),
            TypeError,
            "gap_open must be a number or a tensor, got list",
        ),
        (lambda: softdp.needleman_wunsch(MATCH, -1.0, -3.0), TypeError, "go by name, gap_open=-3.0"),
        (
            lambda: softdp.needleman_wunsch(MATCH, -1.0, boundary="local"),
            ValueError,
            '"subsequence" or "overlap", got \'local\': fsd_score has it, and smith_waterman is local',
        ),
        (lambda: softdp.smith_waterman(MATCH, -1.0, boundary="local"), TypeError, "has no boundary"),
        (
            lambda: softdp.smith_waterman_path(MATCH, -1.0, gamma=1.0),
            TypeError,
            "softdp.smith_waterman_alignment takes a gamma",
        ),
        (
            lambda: softdp.smith_waterman(MATCH, -1.0, x_lengths=torch.tensor([1, 9])),
            ValueError,
            r"x_lengths must lie in \[0, 3\], got 9",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("opened", [None, -1.5])
def test_a_trained_gamma_is_written_as_the_error_says(opened):
    match, g = scores(2, 5, 6), torch.tensor(0.4, dtype=F64)
    call = lambda gamma, k=1.0: softdp.smith_waterman(  # noqa: E731
        match / k, -0.5 / k, gap_open=None if opened is None else opened / k, gamma=gamma
    )
    trained = g.clone().requires_grad_()
    given = "" if opened is None else "gap_open=gap_open / g, "
    message = f"write g * softdp.smith_waterman(match / g, insert / g, {given}gamma=1.0)"
    with pytest.raises(TypeError) as caught:
        call(trained)
    assert message in str(caught.value)
    close(g * call(1.0, g.item()), call(g.item()), 1e-12)
