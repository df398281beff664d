"""Local alignments and affine gaps: by enumeration, by loops over cells, and against softdp.reference."""

import itertools
import math

import oracle
import pytest
import torch
from families import FAMILIES, score_and_gradients, tables_of
from helpers import close, scores

import softdp

F64 = torch.float64
SMALL = [(1, 1), (1, 3), (3, 1), (2, 3), (3, 3), (3, 3)]
every_family = pytest.mark.parametrize("name", FAMILIES)


def lengths_of(pairs):
    return dict(zip(("x_lengths", "y_lengths"), torch.tensor(pairs).unbind(1), strict=True))


@every_family
@pytest.mark.parametrize("gamma", [0.05, 1.0])
def test_the_score_is_the_sum_over_all_paths(name, gamma, either):
    family = FAMILIES[name]
    tables = tables_of(family, (len(SMALL), 3, 3))
    tables["match"][4, 1, 1] = tables["match"][4, 2, 0] = -math.inf
    tables["insert"][4, 1, 2] = -math.inf
    tables["match"][5] = -math.inf
    given = {key: t.to(either) for key, t in tables.items()}
    score, gradients = score_and_gradients(family, softdp, given, gamma=gamma, **lengths_of(SMALL))
    for b, (n, m) in enumerate(SMALL):
        cells = {key: t[b, :n, :m].numpy() for key, t in tables.items()}
        cells.setdefault("delete", cells["insert"])
        expected, by = oracle.of_every_path(cells, gamma, family.boundary, family.every_move, family.affine)
        close(score[b].cpu(), torch.tensor(expected, dtype=F64), 1e-10)
        if "delete" not in tables:
            by["insert"] = by["insert"] + by["delete"]
        for key, gradient in gradients.items():
            close(gradient[b, :n, :m].cpu(), torch.from_numpy(by[key]), 1e-9)
            assert gradient[b].sum().item() == pytest.approx(by[key].sum(), abs=1e-9)  # 0 past the lengths
    assert (score[5] == -math.inf) == (family.boundary == "local" or family.every_move)


def by_loops(family, tables, gamma):
    """The score of one pair by a loop over cells. T is any state; X and Y are in a gap."""
    t = {key: value.expand(tables["match"].shape)[0] for key, value in tables.items()}
    match, insert, delete = t["match"], t["insert"], t.get("delete", t["insert"])
    opened = t.get("open")
    n, m = match.shape
    dead, zero = match.new_tensor(-math.inf), match.new_tensor(0.0)

    def best(*moves):
        alive = [move for move in moves if move > -math.inf]
        return softdp.reference.smooth_max(torch.stack(alive), gamma) if alive else dead

    starts = {
        "local": lambda i, j: False,
        "global": lambda i, j: i == j == 0,
        "subsequence": lambda i, j: i == 0,
        "overlap": lambda i, j: True,
    }[family.boundary]
    M, X, Y = {}, {}, {}
    for i, j in [*((0, j) for j in range(m + 1)), *((i, 0) for i in range(1, n + 1))]:
        M[i, j], X[i, j], Y[i, j] = (zero if starts(i, j) else dead), dead, dead
        if family.boundary == "global" and i > 0:
            X[i, j] = opened[0, 0] if i == 1 else X[i - 1, 0] + insert[i - 1, 0]
        if family.boundary == "global" and j > 0:
            Y[i, j] = opened[0, 0] if j == 1 else Y[0, j - 1] + delete[0, j - 1]
    for i, j in itertools.product(range(1, n + 1), range(1, m + 1)):
        at, up, left, before = (i - 1, j - 1), (i - 1, j), (i, j - 1), (i - 1, j - 1)
        start = (zero,) if family.boundary == "local" else ()
        if family.affine:
            M[i, j] = match[at] + best(M[before], X[before], Y[before], *start)
            X[i, j] = best(M[up] + opened[at], Y[up] + opened[at], X[up] + insert[at])
            Y[i, j] = best(M[left] + opened[at], X[left] + opened[at], Y[left] + delete[at])
        else:
            added = match[at] if family.every_move else zero
            on_match = zero if family.every_move else match[at]
            moves = M[before] + on_match, M[up] + insert[at], M[left] + delete[at]
            M[i, j] = added + best(*moves, *(s + on_match for s in start))
            X[i, j] = Y[i, j] = dead
    cells = list(itertools.product(range(1, n + 1), range(1, m + 1)))
    is_end = {
        "local": lambda i, j: True,
        "global": lambda i, j: i == n and j == m,
        "subsequence": lambda i, j: i == n,
        "overlap": lambda i, j: i == n or j == m,
    }[family.boundary]
    return best(*(state[c] for c in cells if is_end(*c) for state in (M, X, Y)))


@every_family
@pytest.mark.parametrize("size", [(15, 17), (34, 16)], ids=str)
def test_loops_over_cells_agree(name, size):
    family = FAMILIES[name]
    tables = tables_of(family, (1, *size))
    leaves = {key: t.clone().requires_grad_() for key, t in tables.items()}
    expected = by_loops(family, leaves, 0.2)
    by = torch.autograd.grad(expected, list(leaves.values()))
    score, gradients = score_and_gradients(family, softdp, tables, gamma=0.2)
    close(score[0], expected.detach(), 1e-9)
    for gradient, wanted in zip(gradients.values(), by, strict=True):
        close(gradient, wanted, 1e-8)


SIZES = [
    (1, 1),
    (1, 40),
    (40, 1),
    (15, 16),
    (16, 17),
    (31, 33),
    (32, 32),
    (33, 34),
    (64, 63),
    (65, 64),
    (130, 20),
]
GAPS = ["number", "pairs", "rows", "columns", "cells", "mixed"]


@every_family
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_ragged_pairs_agree_with_the_reference(name, size, dtype):
    family, (N, M) = FAMILIES[name], size
    gaps = GAPS[(SIZES.index(size) + list(FAMILIES).index(name)) % len(GAPS)]
    tables = tables_of(family, (5, N, M), gaps, dtype)
    tables["match"][1, -1, -1] = -math.inf
    pairs = [(N, M), (N, M), (max(N - 1, 1), max(M - 2, 1)), (0, M), (N, 0)]
    weights = torch.rand(5, dtype=F64) + 0.5
    for gamma in (0.0, 0.2, 6.0):
        options = {"gamma": gamma, "weights": weights, **lengths_of(pairs)}
        found, gradients = score_and_gradients(family, softdp, tables, **options)
        exact = {key: t.double() for key, t in tables.items()}
        expected, wanted = score_and_gradients(family, softdp.reference, exact, **options)
        assert found.dtype == dtype
        tolerance = 1e-9 if dtype == F64 else 1e-4
        close(found.double(), expected, tolerance)
        for key, gradient in gradients.items():
            assert gradient.shape == tables[key].shape and gradient.dtype == dtype
            largest = max(1.0, wanted[key].abs().max().item())
            close(gradient.double(), wanted[key], tolerance * largest)


@every_family
@pytest.mark.parametrize("gaps", ["number", "mixed", "cells"])
def test_second_derivatives_and_forward_mode(name, gaps):
    family = FAMILIES[name]
    tables = tables_of(family, (3, 3, 4), gaps)
    tables["match"][2, 1, 1] = -math.inf
    finite = tables["match"].isfinite()
    options = {"gamma": 0.4, **lengths_of([(3, 4), (2, 3), (3, 2)])}

    def score(match, *others):
        table = torch.full(finite.shape, -math.inf, dtype=F64).masked_scatter(finite, match)
        given = dict(zip(tables, (table, *others), strict=True))
        return family.score(softdp, given, **options)

    leaves = (tables["match"][finite], *list(tables.values())[1:])
    leaves = tuple(t.clone().requires_grad_() for t in leaves)
    assert torch.autograd.gradcheck(score, leaves)
    assert torch.autograd.gradgradcheck(score, leaves)
    given = tuple(t.detach() for t in leaves)
    directions = tuple(torch.randn_like(t) for t in given)
    _, along = torch.func.jvp(score, given, directions)
    by = torch.func.grad(lambda *t: score(*t).sum(), tuple(range(len(given))))(*given)
    close(along.sum(), sum((g * v).sum() for g, v in zip(by, directions, strict=True)), 1e-9)


@every_family
def test_second_derivatives_of_large_tables_agree_with_the_reference(name):
    family = FAMILIES[name]
    for gaps, gamma in (("mixed", 0.1), ("cells", 1.0)):
        tables = tables_of(family, (2, 40, 37), gaps)
        direction = torch.randn_like(tables["match"])
        found = []
        for library in (softdp, softdp.reference):
            leaves = {key: t.clone().requires_grad_() for key, t in tables.items()}
            score = family.score(library, leaves, gamma=gamma).square().sum()
            (first,) = torch.autograd.grad(score, leaves["match"], create_graph=True)
            found.append(torch.autograd.grad((first * direction).sum(), list(leaves.values())))
        for a, b in zip(*found, strict=True):
            close(a, b, 1e-8 * max(1.0, b.abs().max().item()))


@every_family
def test_float32_is_as_exact_as_promised(name):
    family = FAMILIES[name]
    for gamma in (1e-3, 0.1, 1.0):
        tables = tables_of(family, (1, 500, 512), "number", torch.float32)
        found, gradients = score_and_gradients(family, softdp, tables, gamma=gamma)
        exact = {key: t.double() for key, t in tables.items()}
        expected, wanted = score_and_gradients(family, softdp, exact, gamma=gamma)
        assert ((found - expected) / expected).abs() < 1e-6
        assert (gradients["match"] - wanted["match"]).abs().max() < 1e-4
        for key in family.tables[1:]:
            close(gradients[key].double(), wanted[key], 1e-4 * max(1.0, wanted[key].abs().max().item()))


@pytest.mark.parametrize("opened", [None, -1.0])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (F64, 1e-12)], ids=str)
def test_an_alignment_starts_once(opened, dtype, tolerance):
    """One step of x: each alignment matches it once, so that the starts' probabilities sum to 1."""
    for M in (1, 15, 16, 17, 300, 5000):
        match = scores(2, 1, M, dtype=dtype)
        E = softdp.smith_waterman_alignment(match, -0.01, gap_open=opened, gamma=1.0)
        close(E.sum((1, 2)), torch.ones(2, dtype=dtype), tolerance)
        E = softdp.smith_waterman_alignment(match.mT, -0.01, gap_open=opened, gamma=1.0)
        close(E.sum((1, 2)), torch.ones(2, dtype=dtype), tolerance)


@pytest.mark.parametrize("boundary", ["global", "subsequence", "overlap"])
def test_an_opening_that_scores_the_gap_is_a_linear_gap(boundary):
    match = scores(3, 40, 50)
    for shape in ((1, 1, 1), (3, 1, 1), (3, 40, 1), (3, 40, 50)):
        gap = scores(*shape) - 0.5
        linear, opened = (gap.clone().requires_grad_() for _ in "ab")
        extended = gap.clone().requires_grad_()
        options = {"gamma": 0.2, "boundary": boundary}
        expected = softdp.needleman_wunsch(match, linear, **options)
        found = softdp.needleman_wunsch(match, extended, gap_open=opened, **options)
        close(found, expected, 1e-10)
        (by_linear,) = torch.autograd.grad(expected.sum(), linear)
        close(sum(torch.autograd.grad(found.sum(), (extended, opened))), by_linear, 1e-9)


def test_gaps_as_numbers_per_pair_and_shared():
    match = scores(4, 20, 30)
    per_pair = torch.tensor([-0.5, -0.2, -1.0, 0.1], dtype=F64)
    for call in (
        lambda gap, opened: softdp.needleman_wunsch(match, gap, gap_open=opened),
        lambda gap, opened: softdp.smith_waterman(match, gap.view(-1, 1, 1), gap_open=opened),
    ):
        found = call(per_pair, per_pair - 1)
        each = [call(gap.expand(4), (gap - 1).item())[b] for b, gap in enumerate(per_pair)]
        close(found, torch.stack(each), 1e-12)
    one = softdp.smith_waterman(match, -0.5, delete=-0.5, gap_open=-1.0)
    close(softdp.smith_waterman(match, -0.5, gap_open=-1.0), one, 1e-12)


@every_family
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_spoil_their_own_pair(name, bad):
    family = FAMILIES[name]
    for size, key in itertools.product([(4, 5, 6), (4, 40, 50)], family.tables):
        tables = tables_of(family, size, "cells", torch.float32)
        tables[key][0, 2, 3] = bad
        score, gradients = score_and_gradients(family, softdp, tables)
        assert score[0].isnan() and score[1:].isfinite().all()
        for gradient in gradients.values():
            assert (gradient[0] == 0).all()  # nothing is asked of it
            assert gradient[1:].isfinite().all() and gradient[1:].abs().sum() > 0
        leaf = tables["match"].clone().requires_grad_()
        family.score(softdp, {**tables, "match": leaf}).sum().backward()
        assert leaf.grad[0].isnan().all() and leaf.grad[1:].isfinite().all()


@every_family
def test_pairs_without_cells_and_without_a_path(name):
    family = FAMILIES[name]
    for library in (softdp, softdp.reference):
        tables = tables_of(family, (4, 4, 5), "number")
        pairs = [(0, 5), (4, 0), (0, 0), (1, 0)]
        score, gradients = score_and_gradients(family, library, tables, **lengths_of(pairs))
        opened, gap = (tables[key].item() for key in ("open", "insert")) if family.affine else (0.0, 0.0)
        expected = {
            "local": [-math.inf] * 4,
            "global": [opened + 4 * gap, opened + 3 * gap, 0.0, opened],
            "subsequence": [0.0, -math.inf, 0.0, -math.inf],
            "overlap": [0.0] * 4,
        }[family.boundary]
        close(score, torch.tensor(expected, dtype=F64), 1e-12)
        if family.boundary == "global":
            assert gradients["open"].item() == 3 and gradients["insert"].item() == 7
        for size in ((2, 0, 3), (2, 3, 0), (0, 3, 4), (2, 0, 0)):
            nothing = {key: t.new_zeros(size if key == "match" else (1, 1, 1)) for key, t in tables.items()}
            found = family.score(library, nothing)
            of = family.score(softdp.reference, nothing)
            assert torch.equal(found, of) and found.shape == size[:1]


def test_gaps_of_each_step_leave_an_empty_sequence_without_a_path():
    for gap, opened in itertools.product(((1, 1, 1), (2, 4, 1), (2, 1, 5)), repeat=2):
        tables = {"match": scores(2, 4, 5), "insert": scores(*gap), "open": scores(*opened)}
        family = FAMILIES["needleman_wunsch global"]
        options = lengths_of([(0, 5), (4, 0)])
        found, gradients = score_and_gradients(family, softdp, tables, **options)
        expected, wanted = score_and_gradients(family, softdp.reference, tables, **options)
        close(found, expected, 1e-12)
        for key, gradient in gradients.items():
            close(gradient, wanted[key], 1e-12)
        assert (found[0] == -math.inf) == (4 in (gap[1], opened[1]))
        assert (found[1] == -math.inf) == (5 in (gap[2], opened[2]))


@every_family
def test_masks_of_minus_infinity(name):
    family = FAMILIES[name]
    for dtype, size in itertools.product((torch.float32, F64), ((3, 20, 20), (2, 50, 70))):
        tables = tables_of(family, size, "cells", dtype)
        for key, table in tables.items():
            table[torch.rand(size) < (0.3 if key == "match" else 0.5)] = -math.inf
        found, gradients = score_and_gradients(family, softdp, tables, gamma=0.3)
        exact = {key: t.double() for key, t in tables.items()}
        expected, wanted = score_and_gradients(family, softdp.reference, exact, gamma=0.3)
        close(found.double(), expected, 1e-10 if dtype == F64 else 1e-4)
        for key, gradient in gradients.items():
            close(gradient.double(), wanted[key], 1e-9 if dtype == F64 else 1e-4)
            assert (gradient[tables[key] == -math.inf] == 0).all()


@every_family
def test_any_number_of_threads_gives_the_same_bits(name, threads):
    family = FAMILIES[name]
    for size, dtype in itertools.product([(1, 300, 600), (7, 20, 30)], (torch.float32, F64)):
        tables = tables_of(family, size, "mixed", dtype)
        found = []
        for count in (1, 2, 3):
            threads(count)
            found.append(score_and_gradients(family, softdp, tables, gamma=0.2))
        for score, gradients in found[1:]:
            assert torch.equal(score, found[0][0])
            assert all(torch.equal(a, found[0][1][key]) for key, a in gradients.items())


@every_family
def test_large_scores_and_small_gammas(name):
    """Past the range of float32, and of float64, wider sweeps take over."""
    family = FAMILIES[name]
    for dtype, factor, gamma in (
        (torch.float32, 1e4, 1e-3),
        (torch.float32, 1.0, 1e-9),
        (torch.float32, 1e5, 1e5),
        (F64, 1.0, 1e-14),
        (F64, 1e250, 1.0),
    ):
        tables = {key: t * factor for key, t in tables_of(family, (2, 20, 40), "rows", dtype).items()}
        found, gradients = score_and_gradients(family, softdp, tables, gamma=gamma)
        exact = {key: t.double() / factor for key, t in tables.items()}
        expected, wanted = score_and_gradients(family, softdp.reference, exact, gamma=gamma / factor)
        close(found.double() / factor, expected, 1e-5)
        for key, gradient in gradients.items():
            close(gradient.double(), wanted[key], 1e-3)


@every_family
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_halves_are_read_as_they_are(name, dtype):
    family = FAMILIES[name]
    tables = {key: t.to(dtype) for key, t in tables_of(family, (2, 40, 50), "rows").items()}
    found, gradients = score_and_gradients(family, softdp, tables)
    wide = {key: t.float() for key, t in tables.items()}
    expected, wanted = score_and_gradients(family, softdp, wide)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    for key, gradient in gradients.items():
        assert gradient.dtype == dtype
        close(gradient.float(), wanted[key], 2e-2)


def test_gaps_of_smith_waterman_are_of_pairs():
    """With one dimension, as needleman_wunsch's: also where there are as many steps as pairs."""
    match, gap = scores(3, 5, 3), torch.tensor([-0.2, -1.0, -3.0], dtype=F64)
    wanted = softdp.smith_waterman(match, gap[:, None, None], delete=2 * gap[:, None, None], gamma=0.3)
    for library in (softdp, softdp.reference):
        close(library.smith_waterman(match, gap, delete=2 * gap, gamma=0.3), wanted, 1e-12)
