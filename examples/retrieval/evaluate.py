"""Retrieval by order: mean average precision and 1-shot accuracy from a table of scores."""

from __future__ import annotations

import torch
from torch import Tensor


def average_precision(table: Tensor, orders: Tensor) -> Tensor:
    """Average precision of every sequence as the query: table (S, S), orders (S,) -> (S,).

    The query ranks all other sequences by score, not itself. The precision at a sequence is the share of the
    query's order among the sequences ranked as high or higher. The result is the mean of the precision over
    the sequences of the query's order.
    """
    S = len(orders)
    own = torch.eye(S, dtype=torch.bool)
    ranked = table.masked_fill(own, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, : S - 1]
    hit = (orders[ranked] == orders[:, None]).double()
    precision = hit.cumsum(1) / torch.arange(1, S)
    return (precision * hit).sum(1) / hit.sum(1)


def one_shot_accuracy(table: Tensor, orders: Tensor) -> float:
    """Share of right classes when one sequence of each order is known: the mean over K episodes.

    Every order has K sequences. Episode k knows the k-th of each. Every other sequence gets the order of the
    known sequence with the best score.
    """
    known = orders.argsort(stable=True).view(int(orders.max()) + 1, -1)
    right = []
    for support in known.T:
        rest = torch.ones_like(orders, dtype=torch.bool).index_fill(0, support, False)
        found = table[rest][:, support].argmax(1)
        right.append((found == orders[rest]).double().mean())
    return float(torch.stack(right).mean())
