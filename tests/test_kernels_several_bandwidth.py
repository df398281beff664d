"""The CUDA kernels of affine gaps, run on the CPU, within a bandwidth: NaN lies outside."""

import math

import harness
import pytest
import torch
from families import FAMILIES
from helpers import close
from kernel_checks import F32, SCHEDULES, one_thread, outputs, reduced  # noqa: F401
from test_kernels_bandwidth import insides, spoiled_outside
from test_kernels_several import AFFINE, F64, INF, KERNELS, TOLERANCE, inputs_of, swept

import softdp

BOUNDARIES = ["global", "subsequence", "overlap"]
every_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)
MOST = [(*SCHEDULES[0][:3], 227), (*SCHEDULES[2][:3], 99)]


def check(boundary, inputs, bandwidth, schedules=MOST[:1], **options):
    name, size, dtype = AFFINE + boundary, inputs[0].shape, inputs[0].dtype
    lengths = {key: t for key, t in options.items() if key.endswith("lengths")}
    inside = insides(size, bandwidth, lengths)
    grad = torch.linspace(0.5, -2, size[0]).to(dtype)
    found = swept(name, spoiled_outside(inputs, inside), schedules, grad=grad, bandwidth=bandwidth, **options)
    exact = [None if t is None else t.double().requires_grad_() for t in inputs]
    score = FAMILIES[name].score(softdp.reference, named(exact), bandwidth=bandwidth, **options)
    close(found.score.double(), score.detach(), 1e-9 if dtype == F64 else 1e-5)
    leaves = [t for t in exact if t is not None]
    wanted = torch.autograd.grad((score * grad.double()).sum(), leaves)
    for t, gradient, by in zip(
        [t for t in inputs if t is not None],
        [g for g in found.gradients if g is not None],
        wanted,
        strict=True,
    ):
        close(reduced(gradient, t), by, 2 * TOLERANCE[dtype] * max(1.0, by.abs().max().item()))
        if gradient.shape == size:
            assert (gradient[~inside] == 0).all()
    return found


def named(inputs):
    return dict(zip(("match", "insert", "delete", "open"), inputs, strict=True))


def inputs_with(size, gaps="cells", dtype=F64):
    return inputs_of(AFFINE + "global", size, gaps, dtype)


SIZES = [(1, 1), (1, 9), (9, 1), (2, 40), (31, 33), (32, 32), (33, 31), (20, 200), (63, 65), (64, 130),
         (129, 127), (300, 15)]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_and_gradients_of_affine_gaps(size):
    for k, boundary in enumerate(BOUNDARIES):
        dtype = (F64, F32)[(k + SIZES.index(size)) % 2]
        for gamma, w in ((0.3, 3), (0.0, 9)):
            check(boundary, inputs_with((2, *size), dtype=dtype), w, gamma=gamma)


@every_boundary
@pytest.mark.parametrize("gaps", ["rows", "columns", "pairs", "number", "mixed"])
def test_kinds_of_affine_gaps(boundary, gaps):
    schedules = MOST if gaps == "columns" else MOST[:1]
    check(boundary, inputs_with((2, 140, 75), gaps), 6, schedules, gamma=0.2)


@every_boundary
def test_ragged_lengths_of_affine_gaps(boundary):
    lengths = {
        "x_lengths": torch.tensor([150, 1, 75, 3, 150, 2, 149]),
        "y_lengths": torch.tensor([139, 140, 1, 1, 7, 140, 138], dtype=torch.int32),
    }
    for dtype, gamma in ((F32, 0.3), (F64, 0.0)):
        check(boundary, inputs_with((7, 150, 140), "mixed", dtype), 6, gamma=gamma, **lengths)


@every_boundary
def test_all_cells_are_inside_a_large_bandwidth(boundary):
    for gamma, dtype in ((0.2, F32), (0.0, F64)):
        inputs = inputs_with((2, 70, 50), dtype=dtype)
        wide, whole = (
            swept(AFFINE + boundary, inputs, MOST[:1], gamma=gamma, bandwidth=w) for w in (10**9, None)
        )
        for a, b in zip(outputs(wide), outputs(whole), strict=True):
            assert torch.equal(a, b)


@every_boundary
def test_second_order_of_affine_gaps(boundary):
    name = AFFINE + boundary
    lengths = {"x_lengths": torch.tensor([131, 40, 1]), "y_lengths": torch.tensor([64, 65, 9])}
    for dtype, gaps in ((F64, "cells"), (F32, "mixed")):
        inputs = inputs_with((3, 131, 65), gaps, dtype)
        size, inside = inputs[0].shape, insides((3, 131, 65), 4, lengths)
        directions = tuple(None if t is None else torch.randn(t.shape).to(dtype) for t in inputs)
        grad = torch.tensor([0.7, 1.3, -0.4], dtype=dtype)
        found = swept(
            name, spoiled_outside(inputs, inside), MOST[:1], directions=spoiled_outside(directions, inside),
            grad=grad, gamma=0.3, bandwidth=4, **lengths,
        )  # fmt: skip
        leaves = [None if t is None else t.double().expand(size).clone().requires_grad_() for t in inputs]
        options = {"gamma": 0.3, "bandwidth": 4, **lengths}
        score = FAMILIES[name].score(softdp.reference, named(leaves), **options)
        leaves, along = ([t for t in some if t is not None] for some in (leaves, directions))
        first = torch.autograd.grad(score.sum(), leaves, create_graph=True)
        tangent = sum((g * v.double()).sum((1, 2)) for g, v in zip(first, along, strict=True))
        wanted = torch.autograd.grad((tangent * grad.double()).sum(), leaves)
        close(found.score.double(), tangent.detach(), 3 * TOLERANCE[dtype] * tangent.abs().max().item())
        for product, by in zip([p for p in found.gradients if p is not None], wanted, strict=True):
            close(product.double(), by, 3 * TOLERANCE[dtype] * max(1.0, by.abs().max().item()))
            assert (product[~inside] == 0).all()


@every_boundary
def test_not_finite_inside_only(boundary):
    for N, M in ((11, 13), (150, 140)):
        inside = insides((1, N, M), 5, {})[0]
        inputs = tuple(t.clone() for t in inputs_with((4, N, M), dtype=F32) if t is not None)
        places = [(0, 4), (N - 1, M - 5), (N // 2, M // 2)]
        for b, (row, column) in enumerate(places):
            assert inside[row, column]
            inputs[b % len(inputs)][b, row, column] = (math.nan, INF, math.nan)[b]
        given = inputs if len(inputs) == 4 else (*inputs[:2], None, inputs[2])
        found = swept(
            AFFINE + boundary,
            spoiled_outside(given, inside.expand(4, N, M)),
            MOST[:1],
            gamma=0.2,
            bandwidth=5,
        )
        assert found.score.isnan().tolist() == [True] * 3 + [False]
        for gradient in (g for g in found.gradients if g is not None):
            assert gradient[:3][:, inside].isnan().all() and gradient[3].isfinite().all()
            assert (gradient[:, ~inside] == 0).all()


@every_boundary
def test_no_path_is_left(boundary):
    """-1e7 counts as -inf in float32: where it leaves no path the pair is NaN, unless it lies outside."""
    inside = insides((1, 40, 36), 4, {})[0]
    inputs = inputs_with((2, 40, 36), dtype=F32)
    for t in inputs:
        if t is not None:
            t[:, ~inside], t[0, inside], t[1, inside] = -1e7, -INF, -INF
    inputs[0][1, 20, 18] = -1e7
    found = swept(AFFINE + boundary, inputs, MOST[:1], gamma=0.2, bandwidth=4)
    assert found.score[0] == -INF and found.score[1].isnan()
    assert (found.gradients[0][0] == 0).all() and found.gradients[0][1][inside].isnan().all()


@every_boundary
def test_paths_of_affine_gaps(boundary):
    for size, w in (((1, 7), 0), ((33, 33), 0), ((70, 130), 4), ((140, 60), 9)):
        inputs = inputs_with((2, *size))
        inside = insides((2, *size), w, {})
        found = swept(AFFINE + boundary, spoiled_outside(inputs, inside), MOST[:1], gamma=0.0, bandwidth=w)
        paths = harness.paths(KERNELS[AFFINE + boundary], found, (2, *size), boundary=boundary, bandwidth=w)
        wanted = FAMILIES[AFFINE + boundary].path(softdp, named(inputs), bandwidth=w)
        assert paths == [steps[:n].tolist() for steps, n in zip(wanted.steps, wanted.lengths, strict=True)]
