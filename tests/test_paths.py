"""Best paths on each device: by enumeration, by the scores of which they are the path, and their memory."""

import math

import oracle
import pytest
import torch
from devices import both_boundaries, every_regime, to
from devices import ragged as edge_lengths
from helpers import close, run_python, scores

import softdp

SMALL = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 3)]
PATHS = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_path(match, gap, **lengths),
    "anchored": lambda match, gap, **lengths: softdp.fsd_path(match, gap, boundary="anchored", **lengths),
    "lcs": lambda match, gap, **lengths: softdp.lcs_path(match + gap, threshold=0.4, **lengths),
}


def best(n, m, moves, score, boundary="free"):
    """The first of the best paths in the order in which oracle lists them: SPEC's order of ties."""
    found = [p for p, start in oracle.paths(n, m, moves) if boundary == "free" or start == (0, 0)]
    values = [score(p) for p in found]
    return [(i - 1, j - 1, move) for i, j, move in found[values.index(max(values))]]


def whole(*size):
    """Whole numbers, so that many paths tie."""
    return torch.randint(-2, 3, size).double()


@both_boundaries
@pytest.mark.parametrize("size", SMALL)
def test_fsd_paths_are_the_best_of_all(either, size, boundary):
    for _ in range(10):
        match, insert, delete = (whole(*size) for _ in range(3))
        gap = {"match": 0 * match, "insert": insert, "delete": delete}
        expected = best(
            *size,
            lambda i, j: softdp.MOVES,
            lambda p, match=match, gap=gap: sum(
                (match[i - 1, j - 1] + gap[k][i - 1, j - 1]).item() for i, j, k in p
            ),
            boundary,
        )
        tables = [t[None].to(either) for t in (match, insert, delete)]
        found = softdp.fsd_path(*tables, boundary=boundary)
        assert found.tolist() == [expected]


@pytest.mark.parametrize("size", SMALL)
def test_lcs_paths_are_the_best_of_all(either, size):
    for _ in range(10):
        table = whole(*size)
        expected = best(
            *size,
            lambda i, j, table=table: ("match",) if table[i - 1, j - 1] >= 1 else ("insert", "delete"),
            lambda p, table=table: sum(table[i - 1, j - 1].item() for i, j, k in p if k == "match"),
        )
        assert softdp.lcs_path(table[None].to(either), threshold=1.0).tolist() == [expected]


def ragged(B, N, M):
    return {"x_lengths": torch.randint(0, N + 1, (B,)), "y_lengths": torch.randint(0, M + 1, (B,))}


@both_boundaries
@pytest.mark.parametrize("size", [(3, 7, 9), (2, 33, 16), (2, 100, 130)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fsd_paths_add_up_to_the_hard_score(size, boundary, dtype, device):
    tables = [scores(*size, dtype=torch.float32).to(dtype), *(scores(*size[:2], 1).to(dtype) for _ in "ab")]
    lengths = ragged(*size)
    given = [to(device, t) for t in tables]
    path = softdp.fsd_path(*given, boundary=boundary, **lengths)
    score = softdp.fsd_score(*given, gamma=0.0, boundary=boundary, **lengths).cpu()
    match, insert, delete = (t.double().expand(size) for t in tables)
    gaps = {"match": 0 * match, "insert": insert, "delete": delete}
    for b, cells in enumerate(path.tolist()):
        if score[b] == -math.inf or min(lengths["x_lengths"][b], lengths["y_lengths"][b]) == 0:
            assert cells == []
            continue
        total = sum((match[b, i, j] + gaps[k][b, i, j]).item() for i, j, k in cells)
        assert total == pytest.approx(score[b].item(), rel=1e-5, abs=1e-5)
        connected(cells, boundary, lengths["x_lengths"][b], lengths["y_lengths"][b])


@pytest.mark.parametrize("size", [(3, 7, 9), (2, 33, 16), (2, 100, 130)])
def test_lcs_paths_add_up_to_the_hard_score(size, device):
    similarity, lengths = scores(*size), ragged(*size)
    path = softdp.lcs_path(to(device, similarity), threshold=0.6, **lengths)
    score = softdp.lcs_score(to(device, similarity), threshold=0.6, gamma=0.0, **lengths).cpu()
    for b, cells in enumerate(path.tolist()):
        assert all((similarity[b, i, j] >= 0.6) == (k == "match") for i, j, k in cells)
        total = sum(similarity[b, i, j].item() for i, j, k in cells if k == "match")
        assert total == pytest.approx(score[b].item(), rel=1e-9, abs=1e-9)
        if cells:
            connected(cells, "free", lengths["x_lengths"][b], lengths["y_lengths"][b])


def connected(cells, boundary, n, m):
    assert cells[-1][:2] == (n - 1, m - 1)
    for (i, j, _), (k, q, move) in zip(cells, cells[1:], strict=False):
        assert (k - i, q - j) == oracle.STEP[move]
    i, j, move = cells[0]
    di, dj = oracle.STEP[move]
    assert i - di < 0 or j - dj < 0  # it comes from the boundary
    if boundary == "anchored":
        assert (i, j, move) == (0, 0, "match")


@every_regime
@pytest.mark.parametrize("name", PATHS)
def test_paths_take_the_cells_of_the_hard_gradient(name, size, device):
    """Of whole numbers, so that many paths tie."""
    n, m = edge_lengths(*size)
    match, gaps = (torch.randint(-2, 3, (8, *s)).float() for s in (size, (size[0], 1)))
    match[2, 0, 0] = match[4, -1, -1] = -math.inf
    match[7, 0, 0] = math.nan
    lengths = {"x_lengths": n, "y_lengths": m}
    on_device = {key: to(device, t) for key, t in lengths.items()}
    found = PATHS[name](to(device, match), to(device, gaps), **on_device)
    if name == "lcs":
        given = {"threshold": 0.4, "gamma": 0.0, **lengths}
        taken = softdp.reference.lcs_visits(match + gaps, **given)
    else:
        boundary = "anchored" if name == "anchored" else "free"
        leaf = match.clone().requires_grad_()
        score = softdp.reference.fsd_score(leaf, gaps, gamma=0.0, boundary=boundary, **lengths)
        (taken,) = torch.autograd.grad(score, leaf, torch.ones_like(score))
    cells = [[(i, j) for i, j, _ in path] for path in found.tolist()]
    assert cells == [[tuple(cell) for cell in table.eq(1).nonzero().tolist()] for table in taken]
    assert found.lengths.tolist() == [len(path) for path in cells] and found.lengths[0] > 0
    for path, rows, columns in zip(found.tolist(), n, m, strict=True):
        if path:
            connected(path, "anchored" if name == "anchored" else "free", rows, columns)


@pytest.mark.parametrize("size", [(3, 7, 9), (2, 33, 16), (2, 40, 60)])
@pytest.mark.parametrize("boundary", ["anchored", "subsequence"])
def test_soft_dtw_paths_and_alignments(size, boundary, device):
    cost, lengths = torch.rand(size, dtype=torch.float64), ragged(*size)
    given = to(device, cost)
    options = {"boundary": boundary, **lengths}
    value = softdp.soft_dtw(given, gamma=0.0, **options).cpu()
    for b, cells in enumerate(softdp.soft_dtw_path(given, **options).tolist()):
        total = sum(cost[b, i, j].item() for i, j, _ in cells)
        if value[b].isfinite():
            assert total == pytest.approx(value[b].item(), rel=1e-12)
        else:
            assert cells == []
    leaf = given.clone().requires_grad_()
    softdp.soft_dtw(leaf, gamma=0.3, **options).sum().backward()
    close(softdp.soft_dtw_alignment(given, gamma=0.3, **options), leaf.grad, 1e-12)


def alignment_score(match, gap, path):
    """The score of a global alignment, and the steps of both sequences that it has."""
    total, x, y = 0.0, [], []
    for i, j, move in path:
        total += match[i, j].item() if move == "match" else gap[max(i, 0), max(j, 0)].item()
        x += [i] * (move != "delete")
        y += [j] * (move != "insert")
    return total, x, y


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 9), (7, 9)])
@pytest.mark.parametrize("boundary", ["global", "subsequence", "overlap"])
def test_needleman_wunsch_paths_and_alignments(shape, boundary, device):
    size = (6, 7, 9)
    match, gap = scores(*size), scores(6, *shape) - 0.5
    lengths = {"x_lengths": torch.tensor([7, 3, 0, 4, 0, 7]), "y_lengths": torch.tensor([9, 9, 5, 0, 0, 1])}
    given, gaps = to(device, match), to(device, gap)
    options = {"boundary": boundary, **lengths}
    score = softdp.needleman_wunsch(given, gaps, gamma=0.0, **options).cpu()
    path = softdp.needleman_wunsch_path(given, gaps, **options)
    assert path.steps.shape == (6, 16 if boundary == "global" else 15, 3)
    for b, cells in enumerate(path.tolist()):
        total, x, y = alignment_score(match[b], gap[b].expand(7, 9), cells)
        if score[b] == -math.inf:
            assert cells == []
            continue
        assert total == pytest.approx(score[b].item(), rel=1e-12, abs=1e-12)
        n, m = lengths["x_lengths"][b].item(), lengths["y_lengths"][b].item()
        if boundary == "global":  # every step once, in order
            assert x == list(range(n)) and y == list(range(m))
        elif boundary == "subsequence" and n * m:
            assert x == list(range(n)) and y == [*range(min(y, default=0), max(y, default=-1) + 1)]
    leaf = given.clone().requires_grad_()
    softdp.needleman_wunsch(leaf, gaps, gamma=0.3, **options).nan_to_num(neginf=0).sum().backward()
    close(softdp.needleman_wunsch_alignment(given, gaps, gamma=0.3, **options), leaf.grad, 1e-12)


def test_a_path_takes_a_byte_a_cell():
    """Beside the scores: memory that a thread takes for its pair. A process of its own counts it."""
    words = run_python("-c", MEMORY_OF_A_PATH).stdout.split()
    assert float(words[0]) < 2


MEMORY_OF_A_PATH = """
import resource, torch, softdp
match = torch.rand(1, 4096, 4096)
softdp.fsd_path(match[:, :64, :64], -0.5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
softdp.fsd_path(match, -0.5)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / match.numel())
"""


def test_steps_are_padded_and_lengths_count(device):
    match = torch.eye(3, device=device)[None].repeat(2, 1, 1)
    path = softdp.fsd_path(match, -1.0, x_lengths=torch.tensor([3, 2]), y_lengths=torch.tensor([3, 1]))
    assert path.steps.shape == (2, 5, 3) and path.steps.dtype == torch.int64
    assert path.lengths.tolist() == [3, 1]
    assert (path.steps[0, 3:] == -1).all() and (path.steps[1, 1:] == -1).all()
    assert path.steps[0, :3].tolist() == [[0, 0, 0], [1, 1, 0], [2, 2, 0]]


def test_no_path_and_no_cells(device):
    match = torch.zeros(3, 2, 2)
    match[0, 1, 1], match[1, 0, 0] = -math.inf, math.nan
    assert softdp.fsd_path(to(device, match), 0.0).lengths.tolist() == [0, 0, 2]
    for size in ((2, 0, 3), (2, 3, 0), (0, 2, 2)):
        nothing = torch.zeros(size, device=device)
        path = softdp.fsd_path(nothing, 0.0)
        assert path.steps.shape == (size[0], max(size[1] + size[2] - 1, 0), 3)
        assert path.tolist() == [[]] * size[0]
        assert softdp.lcs_path(nothing, threshold=1.0).tolist() == [[]] * size[0]
