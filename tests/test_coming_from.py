"""docs/coming_from.md: its lines agree in values and gradients, and what it says of the others is measured.

pytorch-softdtw-cuda is a file, not a package: its definition is written down here once more, in PyTorch.
"""

import re
import warnings

import pytest
import torch
from helpers import ROOT, score_and_gradients
from skips import needs_packages

import softdp

PAGE = (ROOT / "docs/coming_from.md").read_text()
SECTIONS = [section.split("\n", 1) for section in PAGE.split("\n## ")[1:]]
BLOCKS = [  # (library, its line, softdp's), the page's bandwidth apart
    (title, theirs, ours)
    for title, text in SECTIONS
    for theirs, ours in re.findall(r"^theirs = (.+)\nours = (.+)$", text, re.MULTILINE)
]
GAMMA = 0.1  # in the page's lines


class SoftDTW:
    """Maghoumi's, by its definition: R(i,j) = D(i,j) - gamma log sum exp(-R / gamma) of the three before."""

    def __init__(self, use_cuda, gamma=1.0, normalize=False):
        self.gamma, self.normalize = gamma, normalize

    def __call__(self, x, y):
        if not self.normalize:
            return self.value(x, y)
        return self.value(x, y) - (self.value(x, x) + self.value(y, y)) / 2

    def value(self, x, y):
        distances = (x[:, :, None] - y[:, None]).square().sum(3)
        far = x.new_full((len(x),), torch.inf)
        row = [torch.zeros_like(far)] + [far] * y.shape[1]
        for i in range(x.shape[1]):
            above, row = row, [far]
            for j in range(y.shape[1]):
                before = torch.stack([above[j], above[j + 1], row[j]])
                row.append(distances[:, i, j] - self.gamma * (-before / self.gamma).logsumexp(0))
        return row[-1]


@pytest.fixture(scope="module")
def others():
    """The names that the page's lines use."""
    with warnings.catch_warnings():  # numba's and others', of each other's versions
        warnings.simplefilter("ignore")
        needs_packages("pysdtw", "tslearn", extra="benchmarks")
        import pysdtw
        from tslearn.metrics import SoftDTWLossPyTorch
    return {"pysdtw": pysdtw, "SoftDTWLossPyTorch": SoftDTWLossPyTorch, "SoftDTW": SoftDTW}


def evaluated(line, names, *features):
    def loss(x, y):
        return eval(line, {**names, "softdp": softdp, "x": x, "y": y})

    return score_and_gradients(loss, features)


def test_the_page_names_them_all():
    names = [name for name, *_ in BLOCKS]
    assert names == ["pysdtw", "tslearn", "tslearn", "pytorch-softdtw-cuda", "pytorch-softdtw-cuda"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(12, 9), (60, 60), (60, 50)])
@pytest.mark.parametrize("name, before, after", BLOCKS, ids=[name for name, *_ in BLOCKS])
def test_the_pages_lines_agree(others, name, before, after, size, dtype):
    features = [torch.randn(3, n, 4, dtype=dtype) for n in size]
    value, gradients = evaluated(before, others, *features)
    found, found_gradients = evaluated(after, others, *features)
    torch.testing.assert_close(found, value, rtol=1e-6, atol=0)
    for a, b in zip(found_gradients, gradients, strict=True):
        assert (a - b).abs().max() < 2e-2
    exact, exact_gradients = evaluated(after, others, *(t.double() for t in features))
    for a, b in zip(found_gradients, exact_gradients, strict=True):
        assert (a - b).abs().max() < 2e-4  # it is the others' that are off


@pytest.mark.parametrize("normalize", [False, True])
def test_the_numba_cuda_files_definition(normalize):
    x, y = (torch.randn(2, n, 3, dtype=torch.float64) for n in (7, 9))
    expected, expected_gradients = score_and_gradients(SoftDTW(False, GAMMA, normalize), (x, y))
    ours = softdp.soft_dtw_divergence if normalize else plain
    found, gradients = score_and_gradients(ours, (x, y), gamma=GAMMA)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-9)


def plain(x, y, gamma):
    return softdp.soft_dtw(softdp.squared_euclidean(x, y), gamma=gamma)


@pytest.mark.parametrize("N, M", [(8, 8), (8, 12), (12, 8)])
def test_a_bandwidth_is_an_infinite_cost(others, N, M):
    x, y = torch.randn(3, N, 4), torch.randn(3, M, 4)
    expected = others["pysdtw"].SoftDTW(gamma=GAMMA, use_cuda=False, bandwidth=2)(x, y)
    i, j = torch.arange(1, N + 1)[:, None], torch.arange(1, M + 1)
    longer = max(N, M)
    outside = (i * longer / N - j * longer / M).abs() > 2
    cost = softdp.squared_euclidean(x, y)
    found = [softdp.soft_dtw(cost.masked_fill(outside, torch.inf), gamma=GAMMA)]
    if N == M:
        found.append(softdp.soft_dtw(cost, gamma=GAMMA, bandwidth=2))
    for value in found:
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


def test_packed_sequences_are_lengths(others):
    lengths = {"x_lengths": torch.tensor([8, 3, 5]), "y_lengths": torch.tensor([6, 7, 2])}
    x, y = torch.randn(3, 8, 4), torch.randn(3, 7, 4)
    pack = torch.nn.utils.rnn.pack_padded_sequence
    packed = (
        pack(t, n, batch_first=True, enforce_sorted=False)
        for t, n in zip((x, y), lengths.values(), strict=True)
    )
    expected = others["pysdtw"].SoftDTW(gamma=GAMMA, use_cuda=False)(*packed)
    cost = softdp.squared_euclidean(x, y, **lengths)
    torch.testing.assert_close(softdp.soft_dtw(cost, gamma=GAMMA, **lengths), expected, rtol=1e-6, atol=0)
