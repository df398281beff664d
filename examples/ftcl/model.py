"""The model: embedding, three-branch attention and class activation sequence of snippet features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from config import Config
from torch import Tensor, nn

INSTANCE, CONTEXT, BACKGROUND = range(3)  # the attention's branches


class Output(NamedTuple):
    """The outputs that the losses and the localization read; the background is the last class."""

    embedding: Tensor  # (B, T, D)
    attention: Tensor  # (B, T, 3), sums to 1 over the branches
    activation: Tensor  # (B, T, C + 1), logits: the class activation sequence
    video: Tensor  # (B, 3, C + 1), logits of the whole recording, one row for each branch
    branch: Tensor  # (B, 3, D), mean embedding of each branch's top snippets


class FTCL(nn.Module):
    """Localization by classification, with another head for the candidates that FSD aligns."""

    def __init__(self, features: int, config: Config) -> None:
        super().__init__()
        self.top_k = config.top_k
        self.embed = nn.Conv1d(features, config.width, kernel_size=3, padding=1)
        self.attend = nn.Conv1d(config.width, 3, kernel_size=1)
        self.dropout = nn.Dropout(config.dropout)
        self.classify = nn.Linear(config.width, config.classes)
        self.project = nn.Linear(config.width, config.width)  # first half match, second half gap

    def forward(self, features: Tensor) -> Output:
        """(B, T, F) -> Output."""
        hidden = self.embed(features.transpose(1, 2)).relu()
        attention = self.attend(hidden).softmax(1).transpose(1, 2)
        embedding = hidden.transpose(1, 2)
        activation = self.classify(self.dropout(embedding))
        shares = [max(features.shape[1] // k, 1) for k in self.top_k]
        video, branch = [], []
        for b, k in enumerate(shares):
            weighted = activation * attention[..., b : b + 1]
            video.append(weighted.topk(k, dim=1).values.mean(1))
            branch.append(candidates(embedding, attention[..., b], 0, k).mean(1))
        pooled = torch.stack(video, 1), torch.stack(branch, 1)
        return Output(embedding, attention, activation, *pooled)


def candidates(embedding: Tensor, attention: Tensor, first: int, last: int) -> Tensor:
    """Snippets of attention rank [first, last), in temporal order: -> (B, last - first, D)."""
    picked = ranked_snippets(attention, first, last)
    return embedding.gather(1, picked[..., None].expand(-1, -1, embedding.shape[2]))


def ranked_snippets(attention: Tensor, first: int, last: int) -> Tensor:
    """Indices of these snippets, ascending: (B, T) -> (B, last - first)."""
    ranked = attention.argsort(dim=1, descending=True, stable=True)
    return ranked[:, first:last].sort(1).values
