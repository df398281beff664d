"""Trains an encoder through a score, and makes the table of the scores of all pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from config import Config, Setting
from data import Sequences
from scores import SCORES, Embedded, all_pairs, symmetric
from torch import Tensor, nn

CHUNK = 1024  # pairs scored at once: bounds the memory


def fit(
    method: str,
    setting: Setting,
    train: Sequences,
    seed: int,
    config: Config,
    tick: Callable[[float], None] = lambda loss: None,
) -> nn.Module:
    """Train an encoder. tick takes the loss of each step.

    With the same seed all methods start from the same weights and see the same pairs.
    """
    model = untrained(train, seed, config)
    batches = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=setting.learning_rate, weight_decay=config.weight_decay
    )
    pairs = all_pairs(config.batch_orders * config.batch_sequences)
    for _ in range(config.steps):
        drawn = draw(train.orders, config, batches)
        embedded = embed(model, train, drawn)
        scores = SCORES[method](embedded, pairs, setting)
        value = contrast(scores, pairs, train.orders[drawn], setting)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        tick(value.item())
    return model


def untrained(train: Sequences, seed: int, config: Config) -> nn.Module:
    """The encoder that a seed's training starts from.

    It embeds each snippet by itself. If it saw the neighbours of a snippet, a score that ignores order would
    still depend on the order.
    """
    torch.manual_seed(seed)
    features, width = train.features.shape[2], config.width
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))


def draw(orders: Tensor, config: Config, generator: torch.Generator) -> Tensor:
    """Draw the sequences of a batch: some orders, and some sequences of each."""
    chosen = torch.randperm(int(orders.max()) + 1, generator=generator)[: config.batch_orders]
    drawn = []
    for order in chosen:
        those = (orders == order).nonzero()[:, 0]
        drawn.append(those[torch.randperm(len(those), generator=generator)[: config.batch_sequences]])
    return torch.cat(drawn)


def embed(model: nn.Module, sequences: Sequences, drawn: Tensor | slice = slice(None)) -> Embedded:
    lengths = sequences.lengths[drawn]
    return Embedded(model(sequences.features[drawn, : int(lengths.max())]), lengths)


def contrast(scores: Tensor, pairs: Tensor, orders: Tensor, setting: Setting) -> Tensor:
    """The loss of all pairs (P, 2) of a batch, with the orders of its sequences (S,).

    It is FTCL's loss or the supervised contrastive loss (Khosla et al., NeurIPS 2020). FTCL's loss is the
    mean score of pairs with different orders minus the mean score of pairs with the same order.
    """
    if setting.scale is None:
        same = orders[pairs[:, 0]] == orders[pairs[:, 1]]
        return scores[~same].mean() - scores[same].mean()
    own = torch.eye(len(orders), dtype=torch.bool)
    likelihood = symmetric(setting.scale * scores, pairs, len(orders)).log_softmax(1)
    return -likelihood[(orders[:, None] == orders) & ~own].mean()


@torch.no_grad()
def score_table(method: str, model: nn.Module, sequences: Sequences, setting: Setting) -> Tensor:
    """The scores of all pairs of sequences, (S, S)."""
    embedded = embed(model, sequences)
    pairs = all_pairs(len(sequences.lengths))
    scores = torch.cat([SCORES[method](embedded, chunk, setting) for chunk in pairs.split(CHUNK)])
    return symmetric(scores, pairs, len(sequences.lengths))
