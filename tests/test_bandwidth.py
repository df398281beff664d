"""Paths within a bandwidth of the line from a pair's first cell to its last."""

import functools
import itertools
import math
from fractions import Fraction

import oracle
import pytest
import torch
from devices import both_dtypes, is_gpu, to
from helpers import close, scores
from torch._subclasses.fake_tensor import FakeTensorMode

import softdp
from softdp._fake import saved_bytes

F64 = torch.float64


@pytest.fixture(params=["cpu", "reference"])
def library(request):
    return softdp.reference if request.param == "reference" else softdp


def inside(n, m, w):
    """Which cells count, (n, m), as the specification says it."""
    cells = torch.ones(n, m, dtype=torch.bool)
    if n > m:
        return inside(m, n, w).T if m > 1 else cells
    if n == 1:
        return cells
    slope = Fraction(m - 1, n - 1)
    most = w if n == m else max(w, math.ceil(slope / 2))
    for i, j in itertools.product(range(n), range(m)):
        cells[i, j] = abs(j - i * slope) <= most
    return cells


def fsd(library, match, insert, delete, **options):
    return library.fsd_score(match, insert, delete, **options)


def needleman_wunsch(library, match, insert, delete, **options):
    return library.needleman_wunsch(match, insert, **options)


def affine(library, match, insert, delete, **options):
    return library.needleman_wunsch(match, insert, gap_open=delete, **options)


def soft_dtw(library, match, insert, delete, **options):
    return library.soft_dtw(match, **options)


def lcs(library, match, insert, delete, **options):
    return library.lcs_score(match, threshold=0.3, **options)


# The score, its boundaries, and how many of the tables it takes.
FAMILY = {
    "fsd": (fsd, ("free", "anchored", "subsequence", "overlap"), 3),
    "needleman_wunsch": (needleman_wunsch, ("global", "subsequence", "overlap"), 2),
    "affine": (affine, ("global", "subsequence", "overlap"), 3),
    "soft_dtw": (soft_dtw, ("anchored", "subsequence"), 1),
    "lcs": (lcs, (None,), 1),
}
CASES = [(name, boundary) for name, (_, boundaries, _) in FAMILY.items() for boundary in boundaries]
every_case = pytest.mark.parametrize("name, boundary", CASES)
every_score = pytest.mark.parametrize("name", FAMILY)
by_size = functools.partial(pytest.mark.parametrize, "size", ids=lambda size: "x".join(map(str, size)))


def options_of(boundary, **options):
    return options if boundary is None else {"boundary": boundary, **options}


def tables_of(B, N, M, dtype=F64, gaps="row and column"):
    """Match, and gaps: one for each row beside one for each column, one for each cell, or two numbers."""
    sizes = {"row and column": ((B, N, 1), (1, 1, M)), "cell": ((B, N, M),) * 2, "number": ((1, 1, 1),) * 2}
    return scores(B, N, M, dtype=dtype), *(scores(*size, dtype=dtype) for size in sizes[gaps])


def with_gradients(name, library, place, tables, weights, **options):
    """The scores, and the gradients by the tables of their sum times the weights, where they are finite."""
    call, _, count = FAMILY[name]
    leaves = [to(place, t.detach().clone()).requires_grad_() for t in tables]
    score = call(library, *leaves, **options)
    finite = score.isfinite()
    loss = (score * to(place, weights).to(score.dtype))[finite].sum()
    return score.detach(), torch.autograd.grad(loss, leaves[:count])


def agrees(name, place, tables, dtype, **options):
    """Scores and gradients beside the reference's in float64."""
    weights = torch.rand(tables[0].shape[0], dtype=F64) + 0.5
    found = with_gradients(name, softdp, place, tables, weights, **options)
    exact = with_gradients(name, softdp.reference, "cpu", [t.double() for t in tables], weights, **options)
    tolerance = 1e-9 if dtype == F64 else 1e-5
    unit = max(1.0, options["gamma"]) if is_gpu(torch.device(place)) else 1.0
    close(found[0].cpu(), exact[0], unit * tolerance)
    for a, b in zip(found[1], exact[1], strict=True):
        close(a.cpu(), b, 10 * tolerance * max(1.0, b.abs().max().item()))


@every_case
@pytest.mark.parametrize("w", [0, 1, 2])
def test_the_score_is_the_sum_over_the_paths_inside(name, boundary, w, library):
    gamma, sizes = 0.4, [(1, 3), (3, 1), (2, 4), (4, 2), (3, 3), (4, 4), (3, 4)]
    tables = scores(7, 4, 4), scores(7, 4, 4), scores(7, 4, 4)
    lengths = dict(zip(("x_lengths", "y_lengths"), torch.tensor(sizes).T, strict=True))
    found = FAMILY[name][0](library, *tables, gamma=gamma, bandwidth=w, **options_of(boundary, **lengths))
    for b, (n, m) in enumerate(sizes):
        cells = inside(n, m, w)
        match, insert, delete = (t[b, :n, :m].numpy() for t in tables)
        expected = oracle.within(name, match, insert, delete, gamma, boundary, cells, 0.3)
        assert found[b].item() == pytest.approx(expected, abs=1e-12), (n, m)


SIZES = [(1, 5), (5, 1), (15, 16), (17, 16), (2, 40), (40, 2), (31, 33), (33, 32), (32, 32), (34, 64),
         (65, 63), (63, 130), (129, 64), (127, 128), (5, 200), (200, 5)]  # fmt: skip


@every_case
@by_size(SIZES)
@both_dtypes
def test_ragged_pairs_agree_with_the_reference(name, boundary, size, dtype, device):
    N, M = size
    number = SIZES.index(size) + CASES.index((name, boundary))
    gamma, w = (0.0, 0.1, 6.0)[number % 3], (0, 1, 3, 12, 40)[number % 5]
    gaps = ("row and column", "cell", "number")[number // 2 % 3]
    lengths = {
        "x_lengths": torch.tensor([N, N, max(N - 1, 1), N // 2, N]),
        "y_lengths": torch.tensor([M, M - M // 3, max(M - 2, 1), M, 0]),
    }
    tables = tables_of(5, N, M, dtype, gaps)
    agrees(name, device, tables, dtype, gamma=gamma, bandwidth=w, **options_of(boundary, **lengths))


@every_score
@pytest.mark.parametrize("size, w", [((1, 300, 280), 20), ((2, 40, 400), 3), ((2, 400, 30), 2)], ids=str)
@both_dtypes
def test_large_pairs_agree_with_the_reference(name, size, w, dtype, device):
    boundary = FAMILY[name][1][-1]
    agrees(name, device, tables_of(*size, dtype), dtype, gamma=0.2, bandwidth=w, **options_of(boundary))


@pytest.mark.parametrize("gamma", [1e-5, 1e-7])
def test_scores_past_the_range_of_float(gamma, device):
    """They are swept with exponents in int32, or again in double, where strips lie at other columns."""
    for boundary, w in (("anchored", 3), ("overlap", 9)):
        tables = tables_of(2, 90, 110, torch.float32)
        if is_gpu(device) and gamma < 1e-6:  # docs/limits.md
            tables = [to(device, t) for t in tables]
            assert softdp.fsd_score(*tables, gamma=gamma, bandwidth=w, boundary=boundary).isnan().all()
        else:
            agrees("fsd", device, tables, torch.float32, gamma=gamma, bandwidth=w, boundary=boundary)


@every_score
def test_a_bandwidth_of_0_is_the_diagonal(name, device):
    tables = [to(device, t - 9 * k) for k, t in enumerate(tables_of(2, 70, 70))]  # gaps that cost
    score = FAMILY[name][0](softdp, *tables, gamma=0.0, bandwidth=0)
    diagonal = tables[0].diagonal(dim1=1, dim2=2)
    if name == "lcs":  # a plateau has no neighbour inside
        both = torch.full_like(tables[0], 0.5)
        assert softdp.lcs_score(both, threshold=0.3, bandwidth=0).tolist() == [35.0, 35.0]
        assert score.tolist() == [-math.inf] * 2
    else:
        close(score, diagonal.sum(1), 1e-9)


@every_score
@by_size([(20, 25), (25, 20), (70, 90), (90, 70), (80, 80)])
@both_dtypes
def test_a_bandwidth_past_the_table_is_none(name, size, dtype, device):
    tables, weights = tables_of(3, *size, dtype), torch.ones(3)
    lengths = {"x_lengths": torch.tensor([size[0], 9, 18]), "y_lengths": torch.tensor([size[1], 17, 3])}
    expected = with_gradients(name, softdp, device, tables, weights, **lengths)
    for w in (max(size) - 2, max(size) - 1, max(size), 10**30):
        found = with_gradients(name, softdp, device, tables, weights, bandwidth=w, **lengths)
        same = w > max(size) - 2
        for a, b in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
            assert torch.equal(a, b) if same else True
        close(found[0][1:], expected[0][1:], 1e-6)


@every_case
@by_size([(9, 12), (40, 60), (150, 70)])
@both_dtypes
def test_what_is_outside_is_not_read(name, boundary, size, dtype, device):
    """NaN and infinity there change no bit, and receive the gradient 0."""
    N, M = size
    call, _, count = FAMILY[name]
    lengths = {"x_lengths": torch.tensor([N, N - 2]), "y_lengths": torch.tensor([M, M - 3])}
    outside = torch.ones(2, N, M, dtype=torch.bool)
    for b, (n, m) in enumerate(zip(*lengths.values(), strict=True)):
        outside[b, :n, :m] = ~inside(int(n), int(m), 4)
    outside, options = to(device, outside), {"gamma": 0.3, "bandwidth": 4, **options_of(boundary, **lengths)}
    found = []
    for bad in (0.0, math.nan, math.inf, -math.inf):
        tables = [to(device, t).masked_fill(outside, bad) for t in tables_of(2, N, M, dtype, "cell")]
        torch.manual_seed(0)
        leaves = [t.requires_grad_() for t in tables]
        score = call(softdp, *leaves, **options)
        gradients = torch.autograd.grad(score.sum(), leaves[:count], create_graph=N < 10)
        assert all((g[outside] == 0).all() for g in gradients)
        more = torch.autograd.grad(gradients[0].square().sum(), leaves[:1]) if N < 10 else ()
        found.append([t.detach() for t in (score, *gradients, *more)])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))
    assert found[0][0].isfinite().all() or name == "lcs"


@every_score
def test_nan_inside_spoils_the_cells_inside(name, device):
    for N, M in ((8, 9), (60, 50)):
        tables = [to(device, t) for t in tables_of(3, N, M, torch.float32, "cell")]
        tables[0][1, 3, 3] = math.nan
        leaf = tables[0].requires_grad_()
        score = FAMILY[name][0](softdp, leaf, *tables[1:], bandwidth=3)
        assert score.isnan().tolist() == [False, True, False]
        score[score > -math.inf].sum().backward() if name == "lcs" else score.sum().backward()
        cells = to(device, inside(N, M, 3))
        if name != "lcs":
            assert torch.equal(leaf.grad[1].isnan(), cells)
        assert (leaf.grad[:, ~cells] == 0).all()


@every_case
def test_derivatives(name, boundary, device):
    call, _, count = FAMILY[name]
    lengths = {"x_lengths": torch.tensor([4, 3]), "y_lengths": torch.tensor([5, 5])}
    tables = [to(device, t) for t in tables_of(2, 4, 5)]
    if name == "lcs":  # hits on the corridor's edge leave no path
        tables[0] = tables[0].clamp(max=0.29)
    options = options_of(boundary, gamma=0.4, bandwidth=1, **lengths)

    def score(*leaves):
        return call(softdp, *leaves, *tables[count:], **options)

    leaves = [t.requires_grad_() for t in tables[:count]]
    assert torch.autograd.gradcheck(score, leaves)
    assert torch.autograd.gradgradcheck(score, leaves)
    given = tuple(t.detach() for t in leaves)
    directions = tuple(torch.randn_like(t) for t in given)
    _, along = torch.func.jvp(score, given, directions)
    gradients = torch.func.grad(lambda *t: score(*t).sum(), tuple(range(count)))(*given)
    close(along.sum(), sum((g * v).sum() for g, v in zip(gradients, directions, strict=True)), 1e-9)


@pytest.mark.parametrize("size, w", [((2, 70, 90), 5), ((2, 100, 40), 2)], ids=str)
def test_second_derivatives_agree_with_the_reference(size, w, device):
    for name, boundary in (
        ("fsd", "overlap"),
        ("needleman_wunsch", "global"),
        ("affine", "global"),
        ("soft_dtw", "anchored"),
    ):
        call, _, count = FAMILY[name]
        tables, direction = tables_of(*size, gaps="cell"), scores(*size)
        found = []
        for library, place in ((softdp, device), (softdp.reference, "cpu")):
            leaves = [to(place, t.clone()).requires_grad_() for t in tables]
            score = call(library, *leaves, gamma=0.3, bandwidth=w, boundary=boundary).square().sum()
            (first,) = torch.autograd.grad(score, leaves[:1], create_graph=True)
            found.append(torch.autograd.grad((first * to(place, direction)).sum(), leaves[:count]))
        for a, b in zip(*found, strict=True):
            close(a.cpu(), b, 1e-8 * max(1.0, b.abs().max().item()))


def test_hessian_vmap_and_compile(device):
    match, small = to(device, scores(3, 40, 50)), to(device, scores(2, 4, 5))
    options = {"gamma": 0.5, "boundary": "overlap", "bandwidth": 3}

    def score(m, library=softdp):
        return library.fsd_score(m, -0.3, **options)

    hessian = torch.func.hessian(lambda m: score(m).square().sum())(small)
    of_reference = torch.func.hessian(lambda m: score(m, softdp.reference).square().sum())(small.cpu())
    close(hessian.cpu(), of_reference, 1e-9)
    stacked = torch.stack([match, match.flip(1)])
    close(torch.func.vmap(score)(stacked), torch.stack([score(m) for m in stacked]), 1e-12)
    leaf = match.clone().requires_grad_()
    score(leaf).sum().backward()
    gradients = torch.func.vmap(torch.func.grad(lambda m: score(m[None])[0]))(match)
    close(gradients, leaf.grad, 1e-12)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda m, w: softdp.soft_dtw(m, bandwidth=w), backend="aot_eager", fullgraph=True, dynamic=True
    )
    for part, w in ((match, 3), (match[:, :35], 3), (match[:, :35], 7)):
        a, b = part.clone().requires_grad_(), part.clone().requires_grad_()
        softdp.soft_dtw(a, bandwidth=w).sum().backward()
        compiled(b, w).sum().backward()
        close(a.grad, b.grad, 1e-12)


@every_case
def test_paths_and_alignments(name, boundary, device):
    N, M, w = 12, 17, 3
    lengths = {"x_lengths": torch.tensor([N, 9]), "y_lengths": torch.tensor([M, 15])}
    options, gaps = options_of(boundary, bandwidth=w, **lengths), ()
    match, insert, delete = (to(device, t) for t in tables_of(2, N, M))
    sign = 1.0
    if name == "fsd":
        functions, gaps = (softdp.fsd_alignment, softdp.fsd_path), (insert, delete)
    elif name == "needleman_wunsch":
        functions, gaps = (softdp.needleman_wunsch_alignment, softdp.needleman_wunsch_path), (insert,)
    elif name == "affine":
        functions, gaps = (softdp.needleman_wunsch_alignment, softdp.needleman_wunsch_path), (insert,)
        options["gap_open"] = delete
    elif name == "soft_dtw":
        functions = softdp.soft_dtw_alignment, softdp.soft_dtw_path
    else:
        functions = softdp.lcs_alignment, softdp.lcs_path
        options["threshold"], match = 2.0, match.clamp(max=0.0)
    alignment = functions[0](match, *gaps, gamma=0.0, **options)
    soft = functions[0](match, *gaps, gamma=0.3, **options)
    paths = functions[1](match, *gaps, **options).tolist()
    for b, path in enumerate(paths):
        n, m = int(lengths["x_lengths"][b]), int(lengths["y_lengths"][b])
        cells = inside(n, m, w)
        assert path and all(cells[i, j] for i, j, _ in path if i >= 0 and j >= 0)
        assert (soft[b, :n, :m].cpu()[~cells] == 0).all()
        taken = {(i, j) for i, j, move in path if move == "match" or name in ("fsd", "soft_dtw")}
        if name != "lcs":
            assert {tuple(c) for c in alignment[b].nonzero().tolist()} == taken
        if boundary == "anchored":
            assert soft[b, 0, 0].item() == pytest.approx(1) == soft[b, n - 1, m - 1].item() * sign
            assert (soft[b, :n, :m].sum(1) > 1 - 1e-9).all()


@both_dtypes
def test_any_number_of_threads_gives_the_same_bits(dtype, threads):
    match, gap = scores(3, 300, 600, dtype=dtype), torch.full((1, 1, 1), -0.3, dtype=dtype)
    for boundary in ("free", "overlap"):
        found = []
        for count in (1, 2, 3):
            threads(count)
            leaf = match.clone().requires_grad_()
            score = softdp.fsd_score(leaf, gap, gamma=0.2, boundary=boundary, bandwidth=30)
            score.sum().backward()
            found.append((score.detach(), leaf.grad))
        for score, gradient in found[1:]:
            assert torch.equal(score, found[0][0]) and torch.equal(gradient, found[0][1])


def test_memory_follows_the_corridor():
    for dtype, part in ((torch.float32, 0.15), (F64, 0.15)):
        whole, band = (saved_bytes(2000, 2000, dtype, 0.1, w) for w in (-1, 100))
        assert band < part * whole
    for size, w in itertools.product(((40, 50), (200, 9), (0, 3), (3, 200)), (0, 2, 20, 300)):
        for dtype, gamma in itertools.product((torch.float32, F64), (0.0, 0.1)):
            match = torch.zeros(2, *size, dtype=dtype)
            _, saved = torch.ops.softdp.lcs_forward(match, None, None, 0.3, gamma, w, True)
            assert saved.shape == (2, saved_bytes(*size, dtype, gamma, w))


FUNCTIONS = [
    *("fsd_score", "lcs_score", "soft_dtw", "needleman_wunsch"),
    *("fsd_alignment", "lcs_alignment", "soft_dtw_alignment", "needleman_wunsch_alignment"),
    *("fsd_path", "lcs_path", "soft_dtw_path", "needleman_wunsch_path"),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_bandwidths_are_errors(function, either):
    table = to(either, scores(2, 3, 4))
    gaps = () if "dtw" in function or "lcs" in function else (-0.5,)
    options = {"threshold": 0.5} if "lcs" in function else {}
    libraries = [softdp, softdp.reference] if hasattr(softdp.reference, function) else [softdp]
    for library in libraries:
        call = functools.partial(getattr(library, function), table, *gaps, **options)
        with pytest.raises(ValueError, match="bandwidth must not be negative, got -1"):
            call(bandwidth=-1)
        for wrong in (math.inf, 2.0, True, "2", torch.tensor(2)):
            with pytest.raises(TypeError, match="bandwidth must be a whole number or None, got"):
                call(bandwidth=wrong)
        assert call(bandwidth=None) is not None


def test_shapes_that_compilers_are_told(device):
    """Of what is saved, on both sides of the bandwidth that holds all cells."""
    for N, M in ((5, 5), (40, 50), (50, 40), (3, 90)):
        for w in (0, 2, max(N, M) - 2, max(N, M) - 1, max(N, M), 1000):
            for dtype, gamma in ((torch.float32, 0.1), (F64, 0.0)):
                match, none = to(device, torch.zeros(2, N, M, dtype=dtype)), (None, None)
                gap = match[:1, :1, :1]
                for name, args in (
                    ("fsd", (match, gap, None, *none, gamma, 0, w, False, True)),
                    ("fsd", (match, gap, gap, *none, gamma, 3, w, False, True)),
                    ("lcs", (match, *none, 0.5, gamma, w, True)),
                    ("affine", (match, gap, None, gap, *none, gamma, 3, w, True)),
                ):
                    operator = getattr(torch.ops.softdp, f"{name}_forward")
                    with FakeTensorMode() as mode:
                        fakes = [mode.from_tensor(t) if torch.is_tensor(t) else t for t in args]
                        told = operator(*fakes)[1]
                    assert told.shape == operator(*args)[1].shape, (name, N, M, w, dtype)
