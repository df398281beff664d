"""Scores against others' programs at gamma 0: dtw-python's open ends and bands; Biopython's free end gaps,
affine gaps and local alignments."""

import numpy as np
import pytest
import torch
from skips import needs_packages

import softdp

needs_packages("dtw", "Bio", extra="compare")
import dtw  # noqa: E402
from Bio.Align import PairwiseAligner, substitution_matrices  # noqa: E402

# The alpha and beta chains of human haemoglobin (UniProt P69905 and P68871).
ALPHA = (
    "VLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHGKKVADALTNAVAHVDDMPNALSALSDLHAHKLRVDPVNFKLL"
    "SHCLLVTLAAHLPAEFTPAVHASLDKFLASVSTVLTSKYR"
)
BETA = (
    "VHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGLAHLDNLKGTFATLSELHCDKLHVDPE"
    "NFRLLGNVLAHHFGKEFTPPVQAAYQKVVAGVANALAHKYH"
)
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
BLOSUM = substitution_matrices.load("BLOSUM62")


def sequence(rng, steps):
    return "".join(rng.choice(list(LETTERS), steps))


def random_pairs(seed):
    """A part of y, changed in places, and y; and a pair whose ends overlap."""
    rng = np.random.default_rng(seed)
    y = sequence(rng, rng.integers(30, 80))
    begin = rng.integers(2, 10)
    part = list(y[begin : begin + rng.integers(12, 18)])
    part[5] = rng.choice(list(LETTERS))
    del part[8 : 8 + rng.integers(3)]
    yield "subsequence", "".join(part), y
    yield "overlap", sequence(rng, 7) + y[:12], y
    yield "overlap", y[-14:] + sequence(rng, 9), y


@pytest.mark.parametrize("seed", range(20))
def test_open_ends_of_dtw(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 12), rng.integers(2, 40)
    if seed < 15:
        cost = rng.random((n, m))
    else:  # a query that the recording has twice, slower
        wave = np.sin(np.linspace(0, 6, 10)) + 0.1 * rng.standard_normal(10)
        recording = np.concatenate([rng.standard_normal(5), np.repeat(wave, 2), rng.standard_normal(7), wave])
        cost = (wave[:, None] - recording) ** 2
    # dtw-python allows an open begin for patterns that it can normalise, which symmetric1 is none of.
    pattern = dtw.StepPattern(dtw.symmetric1.mx, "N")
    theirs = dtw.dtw(cost, step_pattern=pattern, open_begin=True, open_end=True)
    ours = softdp.soft_dtw(torch.from_numpy(cost)[None], gamma=0.0, boundary="subsequence")
    assert ours.item() == pytest.approx(theirs.distance, rel=1e-12)
    whole = softdp.soft_dtw(torch.from_numpy(cost)[None], gamma=0.0)
    assert whole.item() == pytest.approx(dtw.dtw(cost, step_pattern=dtw.symmetric1).distance, rel=1e-12)


@pytest.mark.parametrize("w", [0, 1, 3, 10, 200])
def test_sakoe_chiba_band_of_dtw(w):
    rng = np.random.default_rng(w)
    for steps in (1, 2, 9, 40, 150):
        cost = rng.random((steps, steps))
        band = {"window_type": "sakoechiba", "window_args": {"window_size": w}}
        theirs = dtw.dtw(cost, step_pattern=dtw.symmetric1, **band)
        table = torch.from_numpy(cost)[None]
        ours = softdp.soft_dtw(table, gamma=0.0, bandwidth=w)
        assert ours.item() == pytest.approx(theirs.distance, rel=1e-12)
        path = [(i, j) for i, j, _ in softdp.soft_dtw_path(table, bandwidth=w).tolist()[0]]
        assert path == list(zip(theirs.index1, theirs.index2, strict=True))


def biopython(boundary, x, y, gap):
    aligner = PairwiseAligner(mode="global", substitution_matrix=BLOSUM, gap_score=gap)
    if boundary == "overlap":
        aligner.end_gap_score = 0
    elif boundary == "subsequence":
        aligner.end_insertion_score = 0  # of letters of y beside no letter of x
    return aligner.score(x, y)


def match_scores(x, y):
    return torch.tensor([[[float(BLOSUM[a, b]) for b in y] for a in x]], dtype=torch.float64)


def check(boundary, x, y, gap):
    ours = softdp.needleman_wunsch(match_scores(x, y), gap, gamma=0.0, boundary=boundary)
    assert ours.item() == biopython(boundary, x, y, gap)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("gap", [-4.0, -8.0])
def test_free_end_gaps_of_random_sequences(seed, gap):
    for boundary, x, y in random_pairs(seed):
        check(boundary, x, y, gap)
        check("global", x, y, gap)


@pytest.mark.parametrize("boundary", ["global", "subsequence", "overlap"])
@pytest.mark.parametrize("gap", [-4.0, -8.0])
def test_haemoglobin(boundary, gap):
    check(boundary, ALPHA, BETA, gap)
    check(boundary, ALPHA[30:70], BETA, gap)
    check(boundary, ALPHA[90:], BETA[:70] if boundary == "global" else BETA, gap)


def affine(mode, x, y, opened, extended):
    aligner = PairwiseAligner(
        mode=mode, substitution_matrix=BLOSUM, open_gap_score=opened, extend_gap_score=extended
    )
    return aligner.score(x, y)


def check_affine(x, y, opened, extended):
    match = match_scores(x, y)
    whole = softdp.needleman_wunsch(match, extended, gap_open=opened, gamma=0.0)
    assert whole.item() == affine("global", x, y, opened, extended)
    local = softdp.smith_waterman(match, extended, gap_open=opened, gamma=0.0)
    assert max(local.item(), 0.0) == affine("local", x, y, opened, extended)  # theirs may be empty
    if opened == extended:
        assert softdp.smith_waterman(match, extended, gamma=0.0).item() == local.item()
    steps = softdp.smith_waterman_path(match, extended, gap_open=opened).tolist()[0]
    moves = [move for _, _, move in steps]
    gaps = sum(opened if a != b else extended for a, b in zip(moves, moves[1:], strict=False) if b != "match")
    assert gaps + sum(match[0, i, j].item() for i, j, move in steps if move == "match") == local.item()


GAP_SCORES = [(-11.0, -1.0), (-10.0, -0.5), (-4.0, -4.0), (-3.0, -1.0)]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("opened, extended", GAP_SCORES)
def test_affine_gaps_of_random_sequences(seed, opened, extended):
    for _, x, y in random_pairs(seed):
        check_affine(x, y, opened, extended)


@pytest.mark.parametrize("opened, extended", GAP_SCORES)
def test_affine_gaps_of_haemoglobin(opened, extended):
    check_affine(ALPHA, BETA, opened, extended)
    check_affine(ALPHA[30:70], BETA, opened, extended)
    check_affine(ALPHA[90:], BETA[:70], opened, extended)
