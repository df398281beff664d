"""Random shapes, strides, gap shapes, lengths, dtypes, gammas and masks: operators against the reference."""

import math

import pytest
import torch
from helpers import close, score_and_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import softdp

GAMMAS = st.sampled_from([0.0, 0.01, 0.1, 1.0, 50.0])
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@st.composite
def tables(draw, size, dtype, mask=True):
    """Scores of a broadcast size in a random memory layout, some of them -inf."""
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    order = draw(st.permutations(range(len(size))))
    step = draw(st.sampled_from([1, 2]))
    shape = [size[d] * step for d in order]
    values = (torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype)
    if mask and draw(st.booleans()):
        values[torch.rand(shape, generator=generator) < 0.15] = -math.inf
    inverse = [order.index(d) for d in range(len(size))]
    return values.permute(inverse)[(slice(None, None, step),) * len(size)]


def lengths(size, longest):
    """None, or int32 or int64 lengths of every pair."""
    given = st.lists(st.integers(0, longest), min_size=size, max_size=size)
    integers = st.sampled_from([torch.int32, torch.int64])
    return st.none() | st.builds(lambda values, dtype: torch.tensor(values, dtype=dtype), given, integers)


@st.composite
def problems(draw):
    B, N, M = draw(st.integers(0, 4)), draw(st.integers(0, 40)), draw(st.integers(0, 40))
    dtype = draw(DTYPES)
    gap_size = tuple(draw(st.sampled_from([1, full])) for full in (B, N, M))
    gap_size = gap_size[draw(st.integers(0, 3)) :]
    return {
        "match": draw(tables((B, N, M), dtype)),
        "insert": draw(tables(gap_size, dtype)),
        "delete": draw(st.none() | tables((B, N, M), dtype)),
        "gamma": draw(GAMMAS),
        "lengths": {"x_lengths": draw(lengths(B, N)), "y_lengths": draw(lengths(B, M))},
        "boundary": draw(st.sampled_from(["free", "anchored"])),
        "threshold": draw(st.sampled_from([-2.0, 0.0, 0.5, 2.0])),
    }


matches = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda size: tables((1, *size), torch.float64, mask=False)
)


@given(problems())
@settings(max_examples=150)
def test_fsd_agrees_with_the_reference(p):
    inputs = p["match"], p["insert"], p["delete"]
    options = {"gamma": p["gamma"], "boundary": p["boundary"], **p["lengths"]}
    before = [None if t is None else t.clone() for t in inputs]
    found = score_and_gradients(softdp.fsd_score, inputs, **options)
    # In float64, from the numbers that the operator sees; a hard maximum of halves is often a tie.
    exact = score_and_gradients(
        softdp.reference.fsd_score, [None if t is None else t.double() for t in inputs], **options
    )
    _agree(found, exact, p["match"].dtype)
    for tensor, copy in zip(inputs, before, strict=True):
        assert tensor is None or torch.equal(tensor, copy)


@given(problems())
@settings(max_examples=150)
def test_lcs_agrees_with_the_reference(p):
    c = p["match"]
    options = {"gamma": p["gamma"], "threshold": p["threshold"], **p["lengths"]}
    found = score_and_gradients(softdp.lcs_score, (c,), **options)
    exact = score_and_gradients(softdp.reference.lcs_score, (c.double(),), **options)
    _agree(found, exact, c.dtype)


def _agree(found, exact, dtype):
    value, gradients = found
    exact_value, exact_gradients = exact
    arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
    assert value.dtype == arithmetic
    close(value, exact_value, TOLERANCE[arithmetic])
    rounding = 0 if dtype == arithmetic else torch.finfo(dtype).eps
    for gradient, wanted in zip(gradients, exact_gradients, strict=True):
        if gradient is not None:
            assert gradient.dtype == dtype and gradient.shape == wanted.shape
            close(gradient, wanted, 5 * TOLERANCE[arithmetic] + rounding)


@given(problems(), st.sampled_from([math.nan, math.inf, 1e30, -1e30, 0.0]), st.integers(0, 2**31))
def test_padding_is_never_read_and_gets_no_gradient(p, filling, seed):
    B, N, M = p["match"].shape
    generator = torch.Generator().manual_seed(seed)
    n, m = (torch.randint(0, full + 1, (B,), generator=generator) for full in (N, M))
    inside = (torch.arange(N) < n[:, None])[:, :, None] & (torch.arange(M) < m[:, None])[:, None, :]
    clean = p["match"].float()
    options = {"gamma": p["gamma"], "x_lengths": n, "y_lengths": m}
    for score in (
        lambda t: softdp.fsd_score(t, t, boundary=p["boundary"], **options),
        lambda t: softdp.lcs_score(t, threshold=p["threshold"], **options),
    ):
        value, (gradient,) = score_and_gradients(score, (clean,))
        dirty_value, (dirty_gradient,) = score_and_gradients(score, (clean.masked_fill(~inside, filling),))
        assert torch.equal(value, dirty_value) and torch.equal(gradient, dirty_gradient)
        assert (gradient[~inside] == 0).all()


@given(problems())
def test_lengths_mean_the_same_as_cutting(p):
    match, (n, m) = p["match"].double(), p["lengths"].values()
    B, N, M = match.shape
    value = softdp.fsd_score(match, match, gamma=p["gamma"], boundary=p["boundary"], **p["lengths"])
    for b in range(B):
        rows = N if n is None else int(n[b])
        columns = M if m is None else int(m[b])
        cut = match[b : b + 1, :rows, :columns]
        alone = softdp.fsd_score(cut, cut, gamma=p["gamma"], boundary=p["boundary"])
        assert torch.equal(alone[0], value[b])


@given(problems(), st.floats(-3, 3))
def test_transposing_swaps_insert_and_delete(p, gap):
    match = p["match"].double()
    options = {"gamma": p["gamma"], "boundary": p["boundary"]}
    value = softdp.fsd_score(match, gap, delete=0.5, **options)
    close(value, softdp.fsd_score(match.transpose(1, 2), 0.5, delete=gap, **options), 1e-9)
    similar = softdp.lcs_score(match, threshold=p["threshold"], gamma=p["gamma"])
    turned = softdp.lcs_score(match.transpose(1, 2), threshold=p["threshold"], gamma=p["gamma"])
    close(similar, turned, 1e-9)


@given(matches, st.floats(0.01, 100))
def test_scaling_scores_and_gamma_scales_the_score(match, factor):
    score = softdp.fsd_score(match, -0.3, gamma=0.2)
    scaled = softdp.fsd_score(match * factor, -0.3 * factor, gamma=0.2 * factor)
    assert scaled.item() == pytest.approx(factor * score.item(), rel=1e-9)


@given(matches)
def test_smoothing_never_lowers_the_score(match):
    for score in (
        lambda gamma: softdp.fsd_score(match, -0.3, gamma=gamma).item(),
        lambda gamma: softdp.lcs_score(match, threshold=0.5, gamma=gamma).item(),
    ):
        values = [score(gamma) for gamma in (0.0, 1e-3, 0.1, 1.0, 10.0)]
        assert all(low <= high + 1e-12 for low, high in zip(values, values[1:], strict=False))
