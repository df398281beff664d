"""Paths that begin and end in many cells: the boundaries "subsequence" and "overlap"."""

import functools
import itertools
import math

import oracle
import pytest
import torch
from devices import both_dtypes, to
from helpers import close, scores

import softdp

F64 = torch.float64
OPEN = ("subsequence", "overlap")
SIZES = [(1, 1), (1, 5), (5, 1), (3, 4), (16, 17), (32, 32), (33, 31), (20, 40), (64, 70), (130, 50)]

both_open = pytest.mark.parametrize("boundary", OPEN)
by_size = functools.partial(pytest.mark.parametrize, "size", ids=lambda size: "x".join(map(str, size)))


def fsd(library, match, insert, delete, **options):
    return library.fsd_score(match, insert, delete, **options)


def needleman_wunsch(library, match, insert, delete, **options):
    return library.needleman_wunsch(match, insert, **options)


def soft_dtw(library, match, insert, delete, **options):
    return library.soft_dtw(match, **options)


# The score, its boundaries, and how many of the tables it takes.
FAMILY = {
    "fsd": (fsd, OPEN, 3),
    "needleman_wunsch": (needleman_wunsch, OPEN, 2),
    "soft_dtw": (soft_dtw, OPEN[:1], 1),
}
CASES = [(name, boundary) for name, (_, boundaries, _) in FAMILY.items() for boundary in boundaries]
every_case = pytest.mark.parametrize("name, boundary", CASES)


def tables_of(B, N, M, dtype=F64):
    """Match, a gap for each row, and a gap for each column that all pairs share."""
    return scores(B, N, M, dtype=dtype), scores(B, N, 1, dtype=dtype), scores(1, 1, M, dtype=dtype)


def with_gradients(name, library, place, tables, weights, **options):
    """The scores, and the gradients by the tables of their sum times the weights, where they are finite."""
    call, _, count = FAMILY[name]
    leaves = [to(place, t.detach().clone()).requires_grad_() for t in tables]
    score = call(library, *leaves, **options)
    finite = score.isfinite()
    loss = (score * to(place, weights).to(score.dtype))[finite].sum()
    return score.detach(), torch.autograd.grad(loss, leaves[:count])


@both_open
@pytest.mark.parametrize("gamma", [0.1, 1.0])
@pytest.mark.parametrize("every_move", [True, False], ids=["fsd", "needleman_wunsch"])
def test_the_score_is_the_sum_over_all_paths(every_move, gamma, boundary, device):
    sizes = [(1, 1), (1, 3), (3, 1), (2, 3), (3, 3)]
    match, insert, delete = scores(5, 3, 3), scores(5, 3, 3), scores(5, 3, 3)
    match[3, 1, 2] = match[4, 2, 2] = -math.inf  # a corner among them
    lengths = dict(zip(("x_lengths", "y_lengths"), torch.tensor(sizes).T, strict=True))
    leaves = [to(device, t.clone()).requires_grad_() for t in (match, insert, delete)]
    options = {"gamma": gamma, "boundary": boundary, **lengths}
    if every_move:
        score = softdp.fsd_score(*leaves, **options)
    else:  # which has one gap
        delete, leaves = insert, leaves[:2]
        score = softdp.needleman_wunsch(*leaves, **options)
    gradients = torch.autograd.grad(score.sum(), leaves)
    for b, (n, m) in enumerate(sizes):
        cells = [t[b, :n, :m].numpy() for t in (match, insert, delete)]
        expected, *by = oracle.open_ends(*cells, gamma, boundary, every_move)
        assert score[b].item() == pytest.approx(expected, abs=1e-12)
        by = by if every_move else [by[0], by[1] + by[2]]
        for found, wanted in zip(gradients, by, strict=True):
            close(found[b, :n, :m].cpu(), torch.from_numpy(wanted), 1e-9)
            assert found[b].sum().item() == pytest.approx(wanted.sum(), abs=1e-9)  # 0 past the lengths


@every_case
@by_size(SIZES)
@pytest.mark.parametrize("gamma", [0.0, 0.2, 6.0])
@both_dtypes
def test_ragged_pairs_agree_with_the_reference(name, boundary, size, gamma, dtype, device):
    N, M = size
    tables = tables_of(5, N, M, dtype)
    tables[0][1, -1, -1] = math.inf if name == "soft_dtw" else -math.inf
    lengths = {
        "x_lengths": torch.tensor([N, N, max(N - 1, 0), 0, N]),
        "y_lengths": torch.tensor([M, M, max(M - 2, 0), M, 0]),
    }
    weights, options = torch.randn(5, dtype=F64), {"gamma": gamma, "boundary": boundary, **lengths}
    found = with_gradients(name, softdp, device, tables, weights, **options)
    exact = with_gradients(name, softdp.reference, "cpu", [t.double() for t in tables], weights, **options)
    tolerance = 1e-9 if dtype == F64 else 5e-5
    close(found[0].cpu(), exact[0], tolerance)
    for a, b in zip(found[1], exact[1], strict=True):
        close(a.cpu(), b, tolerance * max(1.0, b.abs().max().item()))


@every_case
def test_pairs_without_cells(name, boundary, device):
    tables = [to(device, t) for t in tables_of(3, 4, 5)]
    lengths = {"x_lengths": torch.tensor([0, 4, 0]), "y_lengths": torch.tensor([5, 0, 0])}
    score = FAMILY[name][0](softdp, *tables, boundary=boundary, **lengths)
    no_y = (math.inf if name == "soft_dtw" else -math.inf) if boundary == "subsequence" else 0.0
    assert score.tolist() == [0.0, no_y, 0.0]
    for size in ((2, 0, 3), (2, 3, 0), (0, 3, 4)):
        match = to(device, torch.zeros(size, dtype=F64))
        gaps = match.new_zeros(1, 1, 1)
        score = FAMILY[name][0](softdp, match, gaps, gaps, boundary=boundary)
        expected = no_y if size[1] > 0 and size[2] == 0 else 0.0
        assert score.tolist() == [expected] * size[0]


@every_case
def test_second_derivatives_and_forward_mode(name, boundary, device):
    call, _, count = FAMILY[name]
    lengths = {"x_lengths": torch.tensor([3, 2]), "y_lengths": torch.tensor([4, 4])}
    tables = [to(device, t) for t in tables_of(2, 3, 4)]

    def score(*leaves):
        return call(softdp, *leaves, *tables[count:], gamma=0.4, boundary=boundary, **lengths)

    leaves = [t.requires_grad_() for t in tables[:count]]
    assert torch.autograd.gradcheck(score, leaves)
    assert torch.autograd.gradgradcheck(score, leaves)
    given = tuple(t.detach() for t in leaves)
    directions = tuple(torch.randn_like(t) for t in given)
    value, along = torch.func.jvp(score, given, directions)
    gradients = torch.func.grad(lambda *t: score(*t).sum(), tuple(range(count)))(*given)
    close(along.sum(), sum((g * v).sum() for g, v in zip(gradients, directions, strict=True)), 1e-9)


@pytest.mark.parametrize("size", [(2, 70, 90), (2, 140, 60)], ids=str)
def test_second_derivatives_of_large_tables_agree_with_the_reference(size, device):
    for boundary, gamma in itertools.product(OPEN, (0.1, 1.0)):
        match, insert, _ = tables_of(*size)
        direction = torch.randn_like(match)
        found = []
        for library, place in ((softdp, device), (softdp.reference, "cpu")):
            leaves = [to(place, t.clone()).requires_grad_() for t in (match, insert)]
            score = library.fsd_score(*leaves, gamma=gamma, boundary=boundary).square().sum()
            (first,) = torch.autograd.grad(score, leaves[:1], create_graph=True)
            found.append(torch.autograd.grad((first * to(place, direction)).sum(), leaves))
        for a, b in zip(*found, strict=True):
            close(a.cpu(), b, 1e-8 * max(1.0, b.abs().max().item()))


def test_without_gaps_a_subsequence_is_a_diagonal(device):
    """With match moves only, each path begins in one cell of row 1, and the ends have the mass 1."""
    cost = to(device, torch.rand(1, 6, 50, dtype=F64))
    options = {"gamma": 0.3, "boundary": "subsequence"}
    diagonals = torch.stack([cost[0].diagonal(k).sum() for k in range(45)])
    score = softdp.fsd_score(-cost, -1e3, **options)
    close(score, 0.3 * torch.logsumexp(-diagonals / 0.3, 0)[None], 1e-9)
    E = softdp.fsd_alignment(-cost, -1e3, **options)[0]
    close(E.sum(1), torch.ones(6, dtype=F64, device=E.device), 1e-9)


@every_case
def test_nan_and_infinity_spoil_their_own_pair(name, boundary, device):
    sign = -1 if name == "soft_dtw" else 1
    for (N, M), bad in itertools.product([(5, 6), (40, 50)], (math.nan, sign * math.inf)):
        tables = [to(device, t) for t in tables_of(4, N, M, torch.float32)]
        tables[0][0, 2, 3] = bad
        tables[0][1] = -sign * math.inf
        leaf = tables[0].clone().requires_grad_()
        score = FAMILY[name][0](softdp, leaf, *tables[1:], boundary=boundary)
        assert score[0].isnan() and score[2:].isfinite().all()
        if name != "needleman_wunsch":
            assert score[1] == -sign * math.inf
        score[1:].sum().backward()
        assert (leaf.grad[:2] == 0).all() or name == "needleman_wunsch"
        assert leaf.grad[2:].isfinite().all() and leaf.grad[2:].abs().sum() > 0
        assert (leaf.grad[0] == 0).all()


@both_open
def test_paths_and_alignments(boundary, device):
    match, insert, delete = (to(device, t) for t in tables_of(2, 6, 9))
    options = {"boundary": boundary, "x_lengths": torch.tensor([6, 4]), "y_lengths": torch.tensor([9, 7])}
    alignment = softdp.fsd_alignment(match, insert, delete, gamma=0.0, **options)
    paths = softdp.fsd_path(match, insert, delete, **options)
    score = softdp.fsd_score(match, insert, delete, gamma=0.0, **options)
    gaps = {"match": match * 0, "insert": insert.expand_as(match), "delete": delete.expand_as(match)}
    for b, path in enumerate(paths.tolist()):
        assert len(path) == alignment[b].sum()
        total = sum(match[b, i, j] + gaps[move][b, i, j] for i, j, move in path)
        close(total, score[b], 1e-12)
        n, m = options["x_lengths"][b], options["y_lengths"][b]
        i, j, move = path[0]
        before = (i - (move != "delete"), j - (move != "insert"))
        assert before[0] == -1 or (boundary == "overlap" and before[1] == -1)
        i, j, _ = path[-1]
        assert i == n - 1 or (boundary == "overlap" and j == m - 1)


def test_dtw_finds_a_query_in_a_recording(device):
    """The example of the docstrings: a query inside of a longer sequence costs nothing."""
    query = torch.tensor([1.0, 3.0, 2.0])
    recording = torch.tensor([0.0, 9.0, 1.0, 1.0, 3.0, 2.0, 7.0])
    cost = to(device, (query[:, None] - recording).square()[None])
    assert softdp.soft_dtw(cost, gamma=0.0).item() > 0
    assert softdp.soft_dtw(cost, gamma=0.0, boundary="subsequence").item() == 0


def test_losses_from_features(device):
    x, y = (to(device, torch.randn(3, steps, 4, dtype=F64)) for steps in (4, 7))
    cost = softdp.squared_euclidean(x, y)
    value = softdp.soft_dtw(cost, boundary="subsequence")
    close(softdp.soft_dtw_loss(x, y, boundary="subsequence", reduction="none"), value, 1e-9)
    close(softdp.SoftDTWLoss(boundary="subsequence")(x, y), value.mean(), 1e-9)
    close(softdp.pairwise_soft_dtw(x, y, boundary="subsequence").diagonal(), value, 1e-9)
    target = to(device, torch.tensor([True, False, True]))
    unit = [torch.nn.functional.normalize(t, dim=2) for half in (x, y) for t in half.split(2, 2)]
    match, gap = unit[0] @ unit[2].mT, unit[1] @ unit[3].mT
    for boundary in ("anchored", *OPEN):
        score = softdp.fsd_score(match, gap, boundary=boundary)
        close(softdp.pairwise_fsd(x, y, boundary=boundary).diagonal(), score, 1e-9)
        expected = score[1] - (score[0] + score[2]) / 2
        close(softdp.fsd_loss(x, y, target, boundary=boundary), expected, 1e-9)
        close(softdp.FSDLoss(boundary=boundary)(x, y, target), expected, 1e-9)
    with pytest.raises(ValueError, match='boundary must be "anchored" with normalize=True'):
        softdp.soft_dtw_loss(x, y, boundary="subsequence", normalize=True)


def test_vmap_and_compile(device):
    match = to(device, scores(3, 40, 50))
    for boundary in OPEN:

        def score(m, boundary=boundary):
            return softdp.fsd_score(m, -0.3, boundary=boundary)

        stacked = torch.stack([match, match.flip(1)])
        close(torch.func.vmap(score)(stacked), torch.stack([score(m) for m in stacked]), 1e-12)
        gradients = torch.func.vmap(torch.func.grad(lambda m: score(m[None])[0]))(match)  # noqa: B023
        leaf = match.clone().requires_grad_()
        score(leaf).sum().backward()
        close(gradients, leaf.grad, 1e-12)
        torch._dynamo.reset()
        compiled = torch.compile(score, backend="aot_eager", fullgraph=True, dynamic=True)
        for part in (match, match[:, :35]):
            a, b = part.clone().requires_grad_(), part.clone().requires_grad_()
            score(a).sum().backward()
            compiled(b).sum().backward()
            close(a.grad, b.grad, 1e-12)


@every_case
def test_jacobians_and_hessians_of_torch_func(name, boundary, device):
    """Where what is saved is not mapped, but the scores' gradient is."""
    call, _, count = FAMILY[name]
    for size in ((2, 3, 4), (2, 34, 40)):
        tables = tables_of(*size)

        def score(match, library=softdp, tables=tables):
            others = (to(match.device, t) for t in tables[1:])
            return call(library, match, *others, gamma=0.3, boundary=boundary)

        match = to(device, tables[0])
        leaf = match.clone().requires_grad_()
        values = score(leaf)
        expected = torch.stack([torch.autograd.grad(s, leaf, retain_graph=True)[0] for s in values])
        close(torch.func.jacrev(score)(match), expected, 1e-10)
        close(torch.func.jacfwd(score)(match), expected, 1e-10) if size[1] == 3 else None
    small = tables_of(2, 3, 4)
    hessian = torch.func.hessian(lambda m: score(m, tables=small).square().sum())(to(device, small[0]))
    of_reference = torch.autograd.functional.hessian(
        lambda m: score(m, softdp.reference, small).square().sum(), small[0]
    )
    close(hessian.cpu(), of_reference, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    match, gap = scores(1, 300, 600, dtype=dtype), torch.full((1, 1, 1), -0.3, dtype=dtype)
    before = torch.get_num_threads()
    for boundary in OPEN:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = match.clone().requires_grad_()
            score = softdp.fsd_score(leaf, gap, gamma=0.2, boundary=boundary)
            score.sum().backward()
            found.append((score.detach(), leaf.grad))
        torch.set_num_threads(before)
        for score, gradient in found[1:]:
            assert torch.equal(score, found[0][0]) and torch.equal(gradient, found[0][1])


@both_open
def test_scores_past_the_range_are_infinite(boundary):
    match = torch.full((1, 3, 3), 1e308, dtype=F64)
    for sign in (1, -1):
        score = softdp.fsd_score(sign * match, 0.0, gamma=1.0, boundary=boundary)
        assert score.item() == (math.inf if sign > 0 else -1e308 if boundary == "overlap" else -math.inf)


def test_the_error_says_who_has_a_boundary():
    with pytest.raises(ValueError, match="fsd_score and needleman_wunsch have it"):
        softdp.soft_dtw(torch.rand(1, 3, 4), boundary="overlap")
