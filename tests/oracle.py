"""The scores by their meaning: every path of a pair is listed and weighted. Slow, exact, no recurrence.

A path is read backwards from (n, m) until it meets the boundary. Its score is a plain sum; the smoothed
score is gamma * logsumexp over paths, and the gradient is how often a path drawn from the softmax of
the scores takes a cell or a move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

STEP = {"match": (1, 1), "insert": (1, 0), "delete": (0, 1)}
Path = list[tuple[int, int, str]]  # (i, j, move into it), i and j from 1


def paths(i: int, j: int, moves: Callable[[int, int], tuple[str, ...]]) -> Iterator[tuple[Path, tuple]]:
    """All paths from the boundary to (i, j), each with the boundary cell where it starts."""
    if i == 0 or j == 0:
        yield [], (i, j)
        return
    for move in moves(i, j):
        di, dj = STEP[move]
        for path, start in paths(i - di, j - dj, moves):
            yield [*path, (i, j, move)], start


def fsd(match, insert, delete, gamma: float, boundary: str):
    """Tables (n, m) -> the score and its gradients by match, insert and delete."""
    n, m = match.shape
    gap = {"match": np.zeros((n, m)), "insert": insert, "delete": delete}
    found = [
        path
        for path, start in paths(n, m, lambda i, j: ("match", "insert", "delete"))
        if boundary == "free" or start == (0, 0)
    ]
    scores = [sum(match[i - 1, j - 1] + gap[k][i - 1, j - 1] for i, j, k in path) for path in found]
    score, shares = smooth_max(np.array(scores), gamma)
    gradients = {name: np.zeros((n, m)) for name in STEP}
    for path, share in zip(found, shares, strict=True):
        for i, j, move in path:
            gradients["match"][i - 1, j - 1] += share
            if move != "match":
                gradients[move][i - 1, j - 1] += share
    return score, gradients["match"], gradients["insert"], gradients["delete"]


def open_ends(match, insert, delete, gamma: float, boundary: str, every_move: bool):
    """FSD, or Needleman-Wunsch where not every move adds the match score, with paths that end in many cells.

    Tables (n, m) -> the score and its gradients by match, insert and delete. None without a path.
    """
    n, m = match.shape
    tables = {"match": match, "insert": insert, "delete": delete}
    ends = [(n, j) for j in range(1, m + 1)]
    if boundary == "overlap":
        ends += [(i, m) for i in range(1, n)]
    found = []
    for i, j in ends:
        for path, start in paths(i, j, lambda i, j: ("match", "insert", "delete")):
            if boundary == "overlap" or start[0] == 0:
                terms = [
                    (name, i - 1, j - 1)
                    for i, j, move in path
                    for name in dict.fromkeys([move, "match"] if every_move else [move])
                ]
                found.append((terms, sum(tables[name][i, j] for name, i, j in terms)))
    found = [(terms, score) for terms, score in found if score > -np.inf]
    if not found:
        return None
    score, shares = smooth_max(np.array([score for _, score in found]), gamma)
    gradients = {name: np.zeros((n, m)) for name in STEP}
    for (terms, _), share in zip(found, shares, strict=True):
        for name, i, j in terms:
            gradients[name][i, j] += share
    return score, gradients["match"], gradients["insert"], gradients["delete"]


def lcs(similarity, threshold: float, gamma: float):
    """Table (n, m) -> the score and its gradient."""
    n, m = similarity.shape

    def moves(i: int, j: int) -> tuple[str, ...]:
        return ("match",) if similarity[i - 1, j - 1] >= threshold else ("insert", "delete")

    found = [path for path, _ in paths(n, m, moves)]
    scores = [sum(similarity[i - 1, j - 1] for i, j, move in path if move == "match") for path in found]
    score, shares = smooth_max(np.array(scores), gamma)
    gradient = np.zeros((n, m))
    for path, share in zip(found, shares, strict=True):
        for i, j, move in path:
            gradient[i - 1, j - 1] += share * (move == "match")
    return score, gradient


def needleman_wunsch(match, gap: float, gamma: float):
    """Table (n, m) and a number -> the score and its gradients by match and gap."""
    n, m = match.shape
    score, by_match, by_gap = alignments(match, np.full((max(n, 1), max(m, 1)), gap), n, m, gamma)
    return score, by_match[:n, :m], by_gap.sum()


def alignments(match, gap, n: int, m: int, gamma: float):
    """Needleman-Wunsch of the first n by m cells: the score and its gradients by match and gap, full tables.

    Steps along the boundary have the gaps of the first column, and of the first row.
    """
    found = []
    for path, start in paths(n, m, lambda i, j: ("match", "insert", "delete")):
        cells = [(i - 1, j - 1) for i, j, move in path if move == "match"]
        gaps = [(i - 1, j - 1) for i, j, move in path if move != "match"]
        gaps += [(k, 0) for k in range(start[0])] + [(0, k) for k in range(start[1])]
        if all(match[c] > -np.inf for c in cells):
            found.append((cells, gaps))
    scores = [sum(match[c] for c in cells) + sum(gap[g] for g in gaps) for cells, gaps in found]
    score, shares = smooth_max(np.array(scores, dtype=float), gamma)
    by_match, by_gap = np.zeros_like(match), np.zeros_like(gap)
    for (cells, gaps), share in zip(found, shares, strict=True):
        for c in cells:
            by_match[c] += share
        for g in gaps:
            by_gap[g] += share
    return score, by_match, by_gap


def within(name: str, match, insert, delete, gamma: float, boundary: str | None, cells, threshold: float):
    """A score of the paths whose cells are all True in `cells` (n, m). Tables (n, m); soft-DTW: of costs.

    "affine" is needleman_wunsch with the gap `insert`, which opens with `delete`.
    """
    n, m = match.shape
    if name == "affine":
        tables = {"match": match, "insert": insert, "delete": insert, "open": delete}
        taken = (
            p for p in every_path(n, m, boundary) if all(cells[i - 1, j - 1] for i, j, _ in p if i and j)
        )
        terms = [terms_of(path, False, True) for path in taken]
        sums = [sum(tables[table][i, j] for table, i, j in path) for path in terms]
        return smooth_max(np.array(sums, dtype=float), gamma)[0] if sums else -np.inf
    every_move = name in ("fsd", "soft_dtw")
    tables = {"match": match, "insert": insert, "delete": delete}
    if name == "soft_dtw":
        tables = {"match": -match, "insert": 0 * insert, "delete": 0 * delete}
    elif name == "needleman_wunsch":
        tables["delete"] = insert
    elif name == "lcs":
        tables["insert"] = tables["delete"] = 0 * match

    def moves(i: int, j: int) -> tuple[str, ...]:
        if not cells[i - 1, j - 1]:
            return ()
        if name != "lcs":
            return "match", "insert", "delete"
        return ("match",) if match[i - 1, j - 1] >= threshold else ("insert", "delete")

    ends = [(n, m)]
    if boundary in ("subsequence", "overlap"):
        ends = [(n, j) for j in range(1, m + 1)]
    if boundary == "overlap":
        ends += [(i, m) for i in range(1, n)]
    found = []
    for end in ends:
        for path, start in paths(*end, moves):
            if (boundary == "anchored" and start != (0, 0)) or (boundary == "subsequence" and start[0] > 0):
                continue
            terms = [tables[move][i - 1, j - 1] for i, j, move in path]
            terms += [tables["match"][i - 1, j - 1] for i, j, move in path if every_move and move != "match"]
            if boundary == "global":
                terms += [insert[k, 0] for k in range(start[0])] + [insert[0, k] for k in range(start[1])]
            found.append(sum(terms))
    score = smooth_max(np.array(found, dtype=float), gamma)[0] if found else -np.inf
    return -score if name == "soft_dtw" else score


def smooth_max(scores: np.ndarray, gamma: float) -> tuple[float, np.ndarray]:
    """The smoothed maximum of finite scores and their shares of it; gamma = 0 wants one maximiser."""
    if gamma == 0:
        shares = (scores == scores.max()).astype(float)
        return scores.max(), shares / shares.sum()
    weights = np.exp((scores - scores.max()) / gamma)
    return scores.max() + gamma * np.log(weights.sum()), weights / weights.sum()


def every_path(n: int, m: int, boundary: str) -> Iterator[Path]:
    """All paths with a step, of a boundary: (i, j, move into it) for each step, also along the boundary."""
    starts = {
        "global": [(0, 0)],
        "subsequence": [(0, j) for j in range(m + 1)],
        "overlap": [(0, j) for j in range(m + 1)] + [(i, 0) for i in range(1, n + 1)],
        "local": [(i, j) for i in range(n) for j in range(m)],
    }[boundary]

    def onwards(i: int, j: int, path: Path) -> Iterator[Path]:
        row, column = i == n, j == m
        ends = {"global": row and column, "subsequence": row, "overlap": row or column, "local": True}
        if path and ends[boundary]:
            yield path
        for move, (di, dj) in STEP.items():
            k, q = i + di, j + dj
            on_boundary = (k == 0 or q == 0) and boundary != "global"
            begins_badly = boundary == "local" and not path and move != "match"
            if k <= n and q <= m and not on_boundary and not begins_badly:
                yield from onwards(k, q, [*path, (k, q, move)])

    for start in starts:
        yield from onwards(*start, [])


def terms_of(path: Path, every_move: bool, affine: bool) -> list[tuple[str, int, int]]:
    """The tables' entries that add up to a path's score."""
    terms, before = [], None
    for i, j, move in path:
        cell = max(i, 1) - 1, max(j, 1) - 1
        if move == "match" or every_move:
            terms.append(("match", *cell))
        if move != "match":
            terms.append(("open" if affine and move != before else move, *cell))
        before = move
    return terms


def of_every_path(
    tables: dict[str, np.ndarray], gamma: float, boundary: str, every_move: bool, affine: bool
) -> tuple[float, dict[str, np.ndarray]]:
    """The smoothed score of tables (n, m) and its gradients by them. Without a path: -inf and 0."""
    n, m = tables["match"].shape
    found = [terms_of(path, every_move, affine) for path in every_path(n, m, boundary)]
    scores = np.array([sum(tables[name][i, j] for name, i, j in terms) for terms in found])
    gradients = {name: np.zeros((n, m)) for name in tables}
    if not np.isfinite(scores).any():
        return -np.inf, gradients
    score, shares = smooth_max(scores, gamma)
    for terms, share in zip(found, shares, strict=True):
        for name, i, j in terms:
            gradients[name][i, j] += share
    return score, gradients
