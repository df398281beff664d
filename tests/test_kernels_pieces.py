"""The CUDA kernels' sources, run on the CPU: a table swept in pieces, and the order in which blocks run."""

import math
import struct

import harness
import pytest
import torch
from helpers import close
from kernel_checks import ALL_BLOCKS, F32, GAMMA, SCHEDULES, exactly, one_thread, pairs, run, tables_of  # noqa: F401


def state(value, dtype, gamma):
    """One state of a sweep: 0, or -inf, as the kernels hold it between chunks."""
    if gamma == 0:
        packed = struct.pack("d", value)
    else:
        packed = struct.pack("d" if dtype == torch.float64 else "f4x", 1.0)
        packed += struct.pack("q", 0 if value == 0 else -(2**50))
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def swept_in_pieces(recurrence, inputs, row, column, boundary, gamma, **options):
    """The score of the last of 2 x 2 pieces, each taking the edges of those before."""
    zero, nothing = (state(v, inputs[0].dtype, gamma) for v in (0.0, -math.inf))
    width = len(zero)
    far = zero if boundary == "free" else nothing
    options = {"boundary": boundary, "gamma": gamma, "save": False, **options}
    edges = {}
    for i, rows in enumerate((slice(0, row), slice(row, None))):
        for j, columns in enumerate((slice(0, column), slice(column, None))):
            given = {"corner": (zero if i + j == 0 else far)[None].contiguous()}
            if i:
                given["above"] = edges[0, j]["last_row"]
            if j:
                given["left"] = edges[i, 0]["last_column"]
            if i and j:
                given["corner"] = states_of(edges[0, 0]["last_row"], column, width)[-1:].contiguous()
            piece = tuple(None if t is None else cut(t, rows, columns) for t in inputs)
            found = run(recurrence, piece, given=given, wanted=("last_row", "last_column"), **options)
            edges[i, j] = found.boundary
    return found


def states_of(edge, count, width):
    return edge.flatten()[: count * width].view(count, width)


def cut(table, rows, columns):
    return table[
        :, rows if table.shape[1] > 1 else slice(None), columns if table.shape[2] > 1 else slice(None)
    ]


@pytest.mark.parametrize("boundary", ["free", "anchored"])
@pytest.mark.parametrize("gamma, dtype", [(GAMMA, F32), (0.0, F32), (GAMMA, torch.float64), (1e-4, F32)])
@pytest.mark.parametrize("size, at", [((20, 20), (7, 9)), ((90, 70), (32, 16)), ((200, 60), (140, 33))])
def test_a_table_swept_in_pieces_is_the_whole_one(size, at, gamma, dtype, boundary):
    for gaps in (("dense", "dense"), ("row", "column"), ("column", "shared")):
        inputs = tables_of(1, *size, dtype=dtype, gaps=gaps)
        whole = run("fsd", inputs, gamma=gamma, boundary=boundary, save=False)
        pieces = swept_in_pieces("fsd", inputs, *at, boundary, gamma)
        close(pieces.score, whole.score, 1e-7 if dtype == F32 else 1e-14)
    whole = run("lcs", inputs[:1], gamma=gamma, threshold=0.3, save=False)
    pieces = swept_in_pieces("lcs", inputs[:1], *at, "free", gamma, threshold=0.3)
    close(pieces.score, whole.score, 1e-7 if dtype == F32 else 1e-14)


def test_edges_of_several_pairs():
    """The last row and column hold S itself: as boundary of a piece of nothing but free moves they score."""
    match, insert, delete = tables_of(3, 140, 50)
    upper = harness.run("fsd", (match[:, :70], insert[:, :70], delete[:, :70]), gamma=GAMMA, save=False,
                        wanted=("last_row",))  # fmt: skip
    lower = tuple(t[:, 70:].contiguous() for t in (match, insert, delete))
    found = run("fsd", lower, gamma=GAMMA, given={"above": upper.boundary["last_row"]})
    score, gradients = exactly("fsd", (match, insert, delete), gamma=GAMMA)
    close(found.score.double(), score, 1e-6)
    for gradient, wanted in zip(found.gradients, gradients, strict=True):
        close(gradient.double(), wanted[:, 70:], 5e-5)


@pytest.mark.parametrize("kind", ["fsd", "sums", "lcs"])
def test_schedules_and_resident_blocks_change_nothing(kind):
    """Bands of 1, 3 and 4 strips of two pairs: with one block at a time only tickets keep one from waiting
    for ever."""
    gaps = ("column", "row") if kind == "sums" else ("dense", "shared")
    inputs = tables_of(2, 600, 70, gaps=gaps)
    schedules = [
        (order, blocks, 5, shared)
        for order, shared in (("forward", 99), ("reverse", 227), ("random", 227), ("random", 48))
        for blocks in (1, 2, ALL_BLOCKS)
    ]
    if kind == "lcs":
        run("lcs", inputs[:1], schedules, gamma=GAMMA, threshold=0.2)
    else:
        run("fsd", inputs, schedules, gamma=GAMMA)


@pytest.mark.parametrize("seed", range(4))
def test_warps_far_ahead_of_others(seed):
    """A strip that runs on while the next one sleeps must not overwrite what that has not taken."""
    inputs = tables_of(1, 260, 500, gaps=("dense", "shared"))
    run("fsd", inputs, [SCHEDULES[0], ("random", ALL_BLOCKS, 100 + seed, 227)], gamma=GAMMA)
