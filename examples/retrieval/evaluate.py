"""Retrieval by order: mean average precision and 1-shot accuracy from a table of scores."""

from __future__ import annotations

import torch
from torch import Tensor


def average_precision(table: Tensor, orders: Tensor) -> Tensor:
    """Of every sequence as the query, the others ranked by score: table (S, S), orders (S,) -> (S,).

    The mean, over the sequences of the query's order, of the share of that order among those ranked as high
    or higher. A query is never ranked itself.
    """
    S = len(orders)
    own = torch.eye(S, dtype=torch.bool)
    ranked = table.masked_fill(own, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, : S - 1]
    hit = (orders[ranked] == orders[:, None]).double()
    precision = hit.cumsum(1) / torch.arange(1, S)
    return (precision * hit).sum(1) / hit.sum(1)


def one_shot_accuracy(table: Tensor, orders: Tensor) -> float:
    """Each order known by one sequence, the others classified by the best score; the mean over K episodes.

    Episode k takes the k-th sequence of every order, of K each.
    """
    known = orders.argsort(stable=True).view(int(orders.max()) + 1, -1)
    right = []
    for support in known.T:
        rest = torch.ones_like(orders, dtype=torch.bool).index_fill(0, support, False)
        found = table[rest][:, support].argmax(1)
        right.append((found == orders[rest]).double().mean())
    return float(torch.stack(right).mean())
