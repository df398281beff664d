"""The scores whose cells have several states, as calls of one shape, and their tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from helpers import scores
from torch import Tensor

import softdp


class Family(NamedTuple):
    """score(library, tables, **options), of named tables. The rest is for the oracle."""

    score: Callable[..., Tensor]
    alignment: Callable[..., Tensor]
    path: Callable[..., softdp.Path]
    tables: tuple[str, ...]
    boundary: str
    every_move: bool = False

    @property
    def affine(self) -> bool:
        return "open" in self.tables


THREE, FOUR = ("match", "insert", "delete"), ("match", "insert", "delete", "open")


def _fsd(which: str) -> Callable[..., object]:
    return lambda library, t, **options: getattr(library, which)(
        t["match"], t["insert"], t["delete"], boundary="local", **options
    )


def _smith_waterman(which: str) -> Callable[..., object]:
    return lambda library, t, **options: getattr(library, which)(
        t["match"], t["insert"], t["delete"], gap_open=t.get("open"), **options
    )


def _needleman_wunsch(which: str, boundary: str) -> Callable[..., object]:
    return lambda library, t, **options: getattr(library, which)(
        t["match"], t["insert"], gap_open=t["open"], boundary=boundary, **options
    )


def _family(make, name: str, of_score: str, tables, boundary: str, every_move: bool = False) -> Family:
    return Family(
        make(of_score), make(f"{name}_alignment"), make(f"{name}_path"), tables, boundary, every_move
    )


FAMILIES = {
    "fsd": _family(_fsd, "fsd", "fsd_score", THREE, "local", True),
    "smith_waterman": _family(_smith_waterman, "smith_waterman", "smith_waterman", THREE, "local"),
    "smith_waterman affine": _family(_smith_waterman, "smith_waterman", "smith_waterman", FOUR, "local"),
}
for _boundary in ("global", "subsequence", "overlap"):
    FAMILIES[f"needleman_wunsch {_boundary}"] = _family(
        lambda which, boundary=_boundary: _needleman_wunsch(which, boundary),
        "needleman_wunsch",
        "needleman_wunsch",
        ("match", "insert", "open"),
        _boundary,
    )


def tables_of(
    family: Family, size: tuple[int, ...], gaps: str = "cells", dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Random tables (B, N, M). gaps: "number", "pairs", "rows", "columns", "cells", or "mixed"."""
    B, N, M = size
    shapes = {
        "number": (1, 1, 1),
        "pairs": (B, 1, 1),
        "rows": (B, N, 1),
        "columns": (1, 1, M),
        "cells": (B, N, M),
    }
    kinds = ("rows", "columns", "number") if gaps == "mixed" else (gaps,) * 3
    made = {"match": scores(*size, dtype=dtype)}
    for name, kind in zip(family.tables[1:], kinds, strict=False):
        made[name] = scores(*shapes[kind], dtype=dtype) - (0.8 if name == "open" else 0.3)
    return made


def score_and_gradients(
    family: Family, library: object, tables: dict[str, Tensor], weights: Tensor | None = None, **options
) -> tuple[Tensor, dict[str, Tensor]]:
    """The scores, and the gradients of their weighted sum where they are finite."""
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tables.items()}
    score = family.score(library, leaves, **options)
    weighted = score if weights is None else score * weights.to(score)
    gradients = torch.autograd.grad(weighted[score.isfinite()].sum(), list(leaves.values()))
    return score.detach(), dict(zip(leaves, gradients, strict=True))
