"""Alignments on each device: their meaning, by enumeration and by the scores; losses on them."""

import oracle
import pytest
import torch
from devices import (
    SCORES,
    both_boundaries,
    both_dtypes,
    every_regime,
    is_gpu,
    reference,
    to,
    values,
)
from devices import ragged as edge_lengths
from helpers import close, score_and_gradients, scores

import softdp

SMALL = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 3)]

# ---- expected alignments -------------------------------------------------------------------------


@both_boundaries
@pytest.mark.parametrize("size", SMALL)
def test_fsd_alignment_is_how_often_paths_pass(either, size, boundary):
    tables = [scores(*size) for _ in range(3)]
    _, expected, *_ = oracle.fsd(*(t.numpy() for t in tables), 0.3, boundary)
    found = softdp.fsd_alignment(*(t[None].to(either) for t in tables), gamma=0.3, boundary=boundary)
    close(found[0].cpu(), torch.from_numpy(expected), 1e-9 if is_gpu(either) else 1e-10)


@pytest.mark.parametrize("size", SMALL)
def test_lcs_alignment_is_how_often_a_common_cell_is_taken(either, size):
    table = scores(*size)
    _, expected = oracle.lcs(table.numpy(), 0.1, 0.3)
    found = softdp.lcs_alignment(table[None].to(either), threshold=0.1, gamma=0.3)
    close(found[0].cpu(), torch.from_numpy(expected), 1e-9 if is_gpu(either) else 1e-10)


ALIGNMENTS = {
    "fsd": lambda match, gap, **lengths: softdp.fsd_alignment(match, gap, gamma=0.2, **lengths),
    "anchored": lambda match, gap, **lengths: softdp.fsd_alignment(
        match, gap, boundary="anchored", **lengths
    ),
    "lcs": lambda match, gap, **lengths: softdp.lcs_alignment(
        match + gap, threshold=0.4, gamma=0.2, **lengths
    ),
}
with_alignments = pytest.mark.parametrize("name", ALIGNMENTS)


@every_regime
@both_dtypes
@with_alignments
def test_alignments_are_the_scores_gradients(name, size, dtype, device):
    n, m = edge_lengths(*size)
    match, gaps = (values(8, *s, dtype=dtype).to(device) for s in (size, (size[0], 1)))
    lengths = {"x_lengths": to(device, n), "y_lengths": to(device, m)}
    _, (expected, _) = score_and_gradients(SCORES[name], (match, gaps), **lengths)
    assert torch.equal(ALIGNMENTS[name](match, gaps, **lengths), expected)


@pytest.mark.parametrize("size", [1, 5, 16, 33, 257, 1024, 4096])
def test_mass_is_one_at_both_ends(size, device):
    match = scores(1, size, size, dtype=torch.float32).to(device)
    E = softdp.fsd_alignment(match, 0.0, boundary="anchored")[0]
    assert E[-1, -1] == 1 and abs(E[0, 0] - 1) < 1e-3
    assert (E >= 0).all() and (E <= 1.001).all()


def test_no_gradient_is_recorded_where_none_is_wanted(device):
    match = scores(1, 4, 4).to(device).requires_grad_()
    with torch.no_grad():
        assert not softdp.fsd_alignment(match, 0.0).requires_grad
    assert not softdp.fsd_alignment(match.detach(), 0.0).requires_grad
    gap = scores(1, 4, 1).to(device).requires_grad_()
    assert softdp.fsd_alignment(match.detach(), gap).requires_grad
    assert softdp.lcs_alignment(match, threshold=0.3).requires_grad


@both_boundaries
@pytest.mark.parametrize("shape", [(), (2, 1, 1), (2, 5, 1), (1, 1, 4), (2, 5, 4)])
@pytest.mark.parametrize("gaps", [1, 2])
def test_a_loss_on_an_alignment_has_the_references_gradients(shape, boundary, gaps, device):
    tables = [scores(2, 5, 4), *(scores(*shape) for _ in range(gaps))]
    wanted = torch.rand(2, 5, 4, dtype=torch.float64)

    def loss(*t):
        E = softdp.fsd_alignment(*t, gamma=0.3, boundary=boundary)
        return (E - to(E.device, wanted)).square().sum((1, 2))

    _, found = score_and_gradients(loss, [to(device, t) for t in tables])
    with reference():
        _, expected = score_and_gradients(loss, tables)
    for a, b in zip(found, expected, strict=True):
        close(a.cpu(), b, 1e-9)
    assert torch.autograd.gradcheck(loss, [to(device, t).requires_grad_() for t in tables])


@with_alignments
@pytest.mark.parametrize("size", [(5, 7), (33, 40)])
def test_a_loss_on_an_alignment(name, size, device):
    tables, wanted = (values(2, *size), values(2, size[0], 1)), values(2, *size)

    def loss(*t):
        return (ALIGNMENTS[name](*t) - to(t[0].device, wanted)).square().sum((1, 2))

    found = score_and_gradients(loss, [to(device, t) for t in tables])
    with reference():
        exact = score_and_gradients(loss, tables)
    for a, b in zip((found[0], *found[1]), (exact[0], *exact[1]), strict=True):
        close(a.cpu(), b, 1e-8)


def test_a_loss_on_an_lcs_alignment(either):
    similarity = scores(2, 5, 4)
    similarity += 0.01 * ((similarity - 0.1).abs() < 1e-3)
    assert torch.autograd.gradcheck(
        lambda c: softdp.lcs_alignment(c, threshold=0.1, gamma=0.3).square().sum((1, 2)),
        to(either, similarity).requires_grad_(),
    )


def test_half_scores_have_float32_alignments(device):
    match = scores(2, 4, 4, dtype=torch.float32).half().to(device).requires_grad_()
    E = softdp.fsd_alignment(match, 0.0)
    assert E.dtype == torch.float32
    E.square().sum().backward()
    assert match.grad.dtype == torch.float16


def test_compiled_and_under_torch_func(device):
    match = scores(2, 5, 4).to(device)
    align = lambda m: softdp.fsd_alignment(m, 0.1, gamma=0.3)  # noqa: E731
    torch._dynamo.reset()
    compiled = torch.compile(align, fullgraph=True, backend="aot_eager")
    value, (gradient,) = score_and_gradients(lambda m: align(m).square(), (match,))
    found, (found_gradient,) = score_and_gradients(lambda m: compiled(m).square(), (match,))
    close(found, value, 1e-12)
    close(found_gradient, gradient, 1e-12)
    close(torch.func.grad(lambda m: align(m).square().sum())(match), gradient, 1e-12)
    stacked = torch.stack([match, -match])
    close(torch.func.vmap(align)(stacked), torch.stack([align(m) for m in stacked]), 1e-12)


def test_training_on_the_alignment_alone_recovers_a_warp():
    """Both sequences hide the same signal among noise; nothing but the known alignment says where."""
    warp = torch.tensor([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11])  # y's step j is x's step warp[j]
    target = (warp == torch.arange(12)[:, None]).double()[None]
    signal = torch.randn(12, 6, dtype=torch.float64)
    x, y = (torch.cat([s, torch.randn(len(s), 26, dtype=s.dtype)], 1) for s in (signal, signal[warp]))
    encoder = torch.nn.Linear(32, 8).double()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.02)

    def error():
        a, b = (torch.nn.functional.normalize(encoder(t), dim=-1) for t in (x, y))
        E = softdp.fsd_alignment((a @ b.T)[None], 0.0, gamma=0.2, boundary="anchored")
        return (E - target).square().sum() / target.sum()

    before = error().item()
    for _ in range(150):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert before > 0.3 and error().item() < 0.02, (before, error().item())


@every_regime
@both_dtypes
def test_visits(size, dtype, device):
    """LCS: how much of all paths passes through a cell, on a plateau too."""
    similarity, (n, m) = values(8, *size, dtype=dtype), edge_lengths(*size)
    expected = softdp.reference.lcs_visits(
        similarity.double(), threshold=0.5, gamma=0.2, x_lengths=n, y_lengths=m
    )
    similarity, *lengths = (to(device, t) for t in (similarity, n, m))
    score, saved = torch.ops.softdp.lcs_forward(similarity, *lengths, 0.5, 0.2, -1, True)
    given = torch.ones_like(score), saved, similarity, *lengths, 0.5, 0.2, -1
    found = torch.ops.softdp.lcs_backward(*given, True)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9 if is_gpu(device) else 1e-10
    close(found.cpu(), expected, tolerance)


@pytest.mark.parametrize("function", [softdp.fsd_alignment, softdp.fsd_path])
def test_errors_come_before_any_kernel(function):
    with pytest.raises(ValueError, match="match must have 3 dimensions"):
        function(torch.zeros(2, 2), 0.0)
    with pytest.raises(
        ValueError, match='boundary must be "free", "anchored", "subsequence", "overlap" or "local"'
    ):
        function(torch.zeros(1, 2, 2), 0.0, boundary="fixed")
    with pytest.raises(TypeError, match="threshold must be a number"):
        softdp.lcs_path(torch.zeros(1, 2, 2), threshold="0.5")


CALLS = {
    "fsd_alignment": lambda t: softdp.fsd_alignment(t, -0.1),
    "lcs_alignment": lambda t: softdp.lcs_alignment(t, threshold=0.3),
    "fsd_path": lambda t: softdp.fsd_path(t, -0.1).steps,
    "lcs_path": lambda t: softdp.lcs_path(t, threshold=0.3).steps,
    "soft_dtw_alignment": lambda t: softdp.soft_dtw_alignment(t),
    "soft_dtw_path": lambda t: softdp.soft_dtw_path(t).steps,
    "needleman_wunsch_alignment": lambda t: softdp.needleman_wunsch_alignment(t, -0.1),
    "needleman_wunsch_path": lambda t: softdp.needleman_wunsch_path(t, -0.1).steps,
}


@pytest.mark.parametrize("name", CALLS)
def test_in_inference_mode_and_mapped(name, device):
    tables = torch.stack([scores(2, 6, 5), scores(2, 6, 5)]).to(device)
    expected = torch.stack([CALLS[name](t) for t in tables])
    assert torch.equal(torch.func.vmap(CALLS[name])(tables), expected)
    with torch.inference_mode():
        assert torch.equal(torch.stack([CALLS[name](t.clone()) for t in tables]), expected)
