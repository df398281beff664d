"""The CPU's SIMD sweeps: sizes around every vector and window, types, gaps, threads, instruction sets."""

from __future__ import annotations

import itertools
import math
import subprocess

import pytest
import torch
from helpers import close, run_python, score_and_gradients, scores

import softdp

# Vectors have 2 to 16 lanes, bands 16 rows; pairs up to 32 x 32 go side by side.
EDGES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 112, 113, 127, 128, 129, 145, 257)
TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
HALF = TYPES[2:]


@pytest.fixture(autouse=True)
def one_thread(threads):
    """The reference's many small operations wait for each other on a busy machine; some tests set more."""
    threads(1)


def quantized(*size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Multiples of 1/64 in [-1, 1], which every type holds: hard maxima then meet the same ties."""
    return (torch.randint(-64, 65, size) / 64).to(dtype)


def agrees(score, reference, tables, **options):
    """Values and gradients against the reference in float64, from the same numbers."""
    found, gradients = score_and_gradients(score, tables, **options)
    exact, wanted = score_and_gradients(
        reference, [None if t is None else t.double() for t in tables], **options
    )
    double = tables[0].dtype == torch.float64
    assert found.dtype == (torch.float64 if double else torch.float32)
    close(found, exact, 1e-9 if double else 2e-6)
    for table, gradient, expected in zip(tables, gradients, wanted, strict=True):
        if table is not None:
            assert gradient.dtype == table.dtype and gradient.shape == table.shape
            rounding = torch.finfo(table.dtype).eps if table.dtype in HALF else 0
            summed = gradient.numel() < tables[0].numel()  # of weights in 16 bits, at many cells
            close(gradient, expected, (1e-9 if double else 1e-3 if summed else 1e-4) + rounding)
    return found, gradients


def fsd_agrees(tables, **options):
    return agrees(softdp.fsd_score, softdp.reference.fsd_score, tables, **options)


def lcs_agrees(table, **options):
    return agrees(softdp.lcs_score, softdp.reference.lcs_score, (table,), **options)


@pytest.mark.parametrize("N", EDGES)
def test_sizes(N):
    for M, B in itertools.product((N, 1, 16, 34), (1, 3)):
        match, gap = quantized(B, N, M), quantized(B, N, M)
        fsd_agrees((match, gap))
        fsd_agrees((match, gap), gamma=0.0, boundary="anchored")
        lcs_agrees(match, threshold=0.5)
    fsd_agrees((quantized(2, 16, N, dtype=torch.float64), quantized(2, 16, N, dtype=torch.float64)))


GAPS = {
    "number": (1, 1, 1),
    "pair": (None, 1, 1),
    "row": (None, None, 1),
    "column": (1, 1, None),
    "dense": (None, None, None),
    "shared": (1, None, None),
}


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("size", [(20, 5, 7), (3, 37, 50)], ids=["side by side", "bands"])
def test_every_type_and_gap(size, dtype):
    def gap(kind):
        shape = (full if s is None else s for s, full in zip(GAPS[kind], size, strict=True))
        return quantized(*shape, dtype=dtype)

    match = quantized(*size, dtype=dtype)
    n, m = (torch.randint(0, full + 1, size[:1]) for full in size[1:])
    for insert, delete in itertools.product(GAPS, (None, *GAPS)):
        tables = match, gap(insert), None if delete is None else gap(delete)
        for gamma, lengths in ((0.1, {}), (0.0, {"x_lengths": n, "y_lengths": m.int()})):
            fsd_agrees(tables, gamma=gamma, **lengths)
    lcs_agrees(match, threshold=0.25, x_lengths=n, y_lengths=m)
    if dtype in HALF:  # a number is not rounded to the half
        score = softdp.fsd_score(match, -0.1)
        close(score, softdp.fsd_score(match.float(), -0.1), 1e-6)


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_strides(dtype):
    base = quantized(40, 42, 44, dtype=dtype)
    views = (
        lambda t: t.transpose(1, 2)[:3],
        lambda t: t.permute(2, 0, 1)[:3],
        lambda t: t[:3, ::2, ::2],
        lambda t: t[:3, 1:, 1:],
        lambda t: t[:1, :, :1].expand(3, -1, 45),
        lambda t: t[:20, :5, :7],
        lambda t: t[:20, :7, :5].mT,
    )
    for view in views:
        agrees(
            lambda a, b, view=view, **o: softdp.fsd_score(view(a), view(b), **o),
            lambda a, b, view=view, **o: softdp.reference.fsd_score(view(a), view(b), **o),
            (base, base.flip(0)),
        )


def test_half_scores_of_every_magnitude():
    """All float16 and bfloat16 numbers, denormal ones too, are read exactly."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    for half in HALF:
        numbers = bits.view(half)
        numbers = numbers[numbers.isfinite() & (numbers.abs() < 1e6)]
        for rows in (numbers[:, None, None], numbers[None, :50, None]):
            score = softdp.fsd_score(rows, 0.0, gamma=1.0, boundary="anchored")
            exact = softdp.fsd_score(rows.double(), 0.0, gamma=1.0, boundary="anchored")
            close(score, exact, 1e-6)
        table = numbers[None, None, :]
        found = softdp.fsd_score(table, 0.0, gamma=0.0)
        close(found, softdp.fsd_score(table.double(), 0.0, gamma=0.0), 1e-6)


def test_half_gradients_round_to_nearest():
    for half in HALF:
        match = scores(1, 40, 50).to(half)
        _, (gradient,) = score_and_gradients(lambda m: softdp.fsd_score(m, 0.0), (match,))
        _, (exact,) = score_and_gradients(lambda m: softdp.fsd_score(m, 0.0), (match.float(),))
        assert torch.equal(gradient, exact.to(half))


@pytest.mark.parametrize("kind", GAPS)
def test_any_number_of_threads_gives_the_same_bits(kind, threads):
    for B, N, M in ((1, 300, 290), (3, 100, 150), (40, 12, 20), (5, 30, 40)):
        shape = [full if s is None else s for s, full in zip(GAPS[kind], (B, N, M), strict=True)]
        tables = scores(B, N, M, dtype=torch.float32), scores(*shape, dtype=torch.float32)
        results = []
        for count in (1, 2, 3, 8):
            threads(count)
            for _ in range(3):
                value, gradients = score_and_gradients(softdp.fsd_score, tables)
                results.append((value, *gradients))
        for other in results[1:]:
            assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("n", [1, 17, 640])
@pytest.mark.parametrize("m", [1, 5, 16, 17, 33, 49])
def test_a_short_pair_in_a_long_table_on_several_threads(n, m, threads):
    """Swept in a chain of bands, whose lanes go from strip to strip; the bits and the zeros of one thread."""
    tables = [scores(1, 640, 640, dtype=torch.float32) for _ in range(2)]
    tables[0][:, ::7, ::5] = -math.inf
    lengths = {"x_lengths": torch.tensor([n]), "y_lengths": torch.tensor([m])}
    results = []
    for count in (1, 3):
        threads(count)
        value, gradients = score_and_gradients(softdp.fsd_score, tables, **lengths)
        results.append((value, *gradients))
        for gradient in gradients:
            assert (gradient[:, n:] == 0).all() and (gradient[:, :, m:] == 0).all()
    assert all(map(torch.equal, *results))
    exact, wanted = score_and_gradients(
        softdp.fsd_score, [t[:, :n, :m].double().contiguous() for t in tables]
    )
    close(results[0][0], exact, 1e-6)
    for found, expected in zip(results[0][1:], wanted, strict=True):
        close(found[:, :n, :m], expected, 1e-3)


def test_a_batch_and_its_pairs_one_by_one_agree_to_the_bit():
    match, gap = (scores(9, 70, 50, dtype=torch.float32) for _ in range(2))
    value, gradients = score_and_gradients(softdp.fsd_score, (match, gap))
    for b in range(9):
        one, own = score_and_gradients(softdp.fsd_score, (match[b : b + 1], gap[b : b + 1]))
        assert torch.equal(one[0], value[b])
        assert all(torch.equal(a[0], g[b]) for a, g in zip(own, gradients, strict=True))
    for dtype in (torch.float32, torch.float64):  # side by side, or alone: the same bits too
        for size in ((20, 20), (31, 9), (5, 7)):
            match, gap = (scores(40, *size, dtype=dtype) for _ in range(2))
            for score, tables in (
                (softdp.fsd_score, (match, gap)),
                (lambda c: softdp.lcs_score(c, threshold=0.3), (match,)),
            ):
                value, gradients = score_and_gradients(score, tables)
                one, own = score_and_gradients(score, [t[3:4] for t in tables])
                assert torch.equal(one[0], value[3])
                assert all(torch.equal(a[0], g[3]) for a, g in zip(own, gradients, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ragged_pairs_side_by_side_score_as_alone(dtype):
    for _ in range(30):
        n, m = (torch.randint(1, 24, (40,)) for _ in range(2))
        match, gap = (scores(40, 23, 23, dtype=dtype) for _ in range(2))
        together = softdp.fsd_score(match, gap, gamma=1.0, x_lengths=n, y_lengths=m)
        alone = [
            softdp.fsd_score(
                match[b : b + 1], gap[b : b + 1], gamma=1.0, x_lengths=n[b : b + 1], y_lengths=m[b : b + 1]
            )
            for b in range(3)
        ]
        assert torch.equal(torch.cat(alone), together[:3])


@pytest.mark.parametrize("size", [(1378, 193), (1001, 512), (850, 300), (1029, 257), (2000, 70), (513, 801)])
def test_what_is_saved_does_not_depend_on_the_threads(threads, size):
    match, gap = (scores(1, *size, dtype=torch.float32) for _ in range(2))
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(torch.ops.softdp.fsd_forward(match, gap, None, None, None, 0.1, 0, -1, False, True)[1])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("size", [(1, 2**40, 2**22), (2**46, 1, 1), (2**23, 2**23, 1)])
def test_too_many_cells_are_an_error(size):
    for needs in (False, True):
        table = torch.zeros(1, 1, 1, requires_grad=needs).expand(size)
        with pytest.raises(RuntimeError, match="too many cells"):
            softdp.fsd_score(table, 0.0)


def test_scores_alone_take_little_memory():
    """Rows of states, 16 bytes a column each, and no weights."""
    program = """if True:
        import resource, softdp, torch
        torch.set_num_threads(1)
        table = torch.zeros(1, 1, 2**24, dtype=torch.bfloat16)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        softdp.fsd_score(table, 0.0)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**14)"""
    found = run_python("-c", program)
    assert float(found.stdout) < 40, found.stderr  # bytes a column


def test_nothing_is_saved_where_no_gradient_is_wanted():
    match = scores(2, 40, 50, dtype=torch.float32)
    _, saved = torch.ops.softdp.fsd_forward(match, match, None, None, None, 0.1, 0, -1, False, False)
    assert saved.numel() == 0
    _, saved = torch.ops.softdp.fsd_forward(match, match, None, None, None, 0.1, 0, -1, False, True)
    assert saved.shape == (2, softdp._fake.saved_bytes(40, 50, torch.float32, 0.1))
    assert saved.dtype == torch.uint8
    assert saved.numel() <= 4 * 2 * (48 * 64 + 256) + 128  # whole strips and blocks of 16
    for dtype, bytes_a_cell in ((torch.float32, 4.03), (torch.bfloat16, 4.03), (torch.float64, 1)):
        large = torch.empty(1, 1024, 1024, device="meta", dtype=dtype)
        _, saved = torch.ops.softdp.fsd_forward(large, large, None, None, None, 0.1, 0, -1, False, True)
        assert saved.numel() <= bytes_a_cell * large.numel()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("gamma", [0.0, 1e-31, 0.1, 1e31])
def test_fake_tensors_have_the_size_of_what_is_saved(dtype, gamma):
    for size in itertools.product((0, 1, 16, 32, 33, 49), (0, 1, 16, 17, 32, 33, 300)):
        real, fake = (torch.empty(2, *size, device=d, dtype=dtype).fill_(0.5) for d in ("cpu", "meta"))
        for operator, options in (
            (torch.ops.softdp.fsd_forward, (None, None, None, gamma, 0, -1, False, True)),
            (torch.ops.softdp.lcs_forward, (None, None, 0.3, gamma, -1, True)),
        ):
            scores = (1, 2)[operator is torch.ops.softdp.fsd_forward]
            wanted, found = (operator(*[t] * scores, *options)[1] for t in (real, fake))
            assert found.shape == wanted.shape and found.dtype == wanted.dtype


def runs_with(name: str) -> subprocess.CompletedProcess:
    program = (
        "import softdp, torch; score = softdp.fsd_score(torch.eye(9)[None], 0.0).item(); "
        "print(softdp.build_info()['cpu_selected'], score)"
    )
    return run_python("-c", program, variables={"SOFTDP_CPU": name})


def test_instruction_sets_can_be_named():
    found = set()
    for name in softdp.build_info()["cpu"]:
        done = runs_with(name)
        if done.returncode:
            assert "this machine does not have these instructions" in done.stderr
        else:
            selected, score = done.stdout.split()
            assert selected == name
            found.add(f"{float(score):.5f}")
    assert len(found) == 1
    done = runs_with("mmx")
    assert done.returncode and "SOFTDP_CPU=mmx: must be one of baseline" in done.stderr
