"""The losses: multiple-instance classification and its helpers, and FTCL's two contrasts."""

from __future__ import annotations

import torch
from config import Config
from model import BACKGROUND, CONTEXT, FTCL, INSTANCE, Output, candidates
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import softdp

# The rows of the ablation: which contrasts join the classification.
VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "+ FSD": ("fsd",),
    "+ LCS": ("lcs",),
    "+ both": ("fsd", "lcs"),
    "control": ("unordered",),
}


def training_loss(
    model: FTCL,
    features: Tensor,
    labels: Tensor,
    same: Tensor,
    contrasts: tuple[str, ...],
    config: Config,
) -> Tensor:
    """Loss of P pairs: features (P, 2, T, F), video labels (P, 2, C), same (P,) true if shared."""
    output = model(features.flatten(0, 1))
    loss = classification_loss(output, labels.flatten(0, 1), config)
    for name in contrasts:
        loss = loss + CONTRASTS[name](model, *split_pairs(output), same, config)
    return loss


def classification_loss(output: Output, labels: Tensor, config: Config) -> Tensor:
    """The losses from video labels (B, C) without contrasting."""
    return (
        multiple_instance_loss(output.video, labels)
        + config.guide_weight * guide_loss(output)
        + config.norm_weight * feature_norm_loss(output, config.norm_margin)
        + config.sparsity_weight * sparsity_loss(output)
    )


def multiple_instance_loss(video: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the three branches, video (B, 3, C + 1), labels (B, C).

    Instances show the actions, background shows only background, and context shows both.
    """
    on, off = torch.ones_like(labels[:, :1]), torch.zeros_like(labels[:, :1])
    targets = torch.stack(
        [
            torch.cat([labels, off], 1),
            torch.cat([labels, on], 1),
            torch.cat([torch.zeros_like(labels), on], 1),
        ],
        dim=1,
    )
    targets = targets / targets.sum(2, keepdim=True)
    return -(targets * video.log_softmax(2)).sum(2).mean(0).sum()


def guide_loss(output: Output) -> Tensor:
    """The class activation must show background where the instance attention is low."""
    attention = output.attention[..., INSTANCE]
    background = (attention[..., None] * output.activation).softmax(2)[..., -1]
    return (1 - background - attention.detach()).abs().sum(1).mean()


def feature_norm_loss(output: Output, margin: float) -> Tensor:
    """Embedding norms: instance above context above background, by a margin; background near 0."""
    norm = output.branch.norm(dim=2)
    instance, context, background = norm[:, INSTANCE], norm[:, CONTEXT], norm[:, BACKGROUND]
    too_close = (margin - instance + context).relu() + (margin - context + background).relu()
    return (too_close + background).square().mean()


def sparsity_loss(output: Output) -> Tensor:
    """Instance and context attention, summed over time."""
    return output.attention[..., :BACKGROUND].sum((1, 2)).mean()


def fsd_contrast(model: FTCL, x: Output, y: Output, same: Tensor, config: Config) -> Tensor:
    """Align actions with actions (same label), in contrast to actions with action-like background."""
    x, y = fsd_candidates(model, x, y, same, config)
    return config.fsd_weight * softdp.fsd_loss(x, y, same, gamma=config.fsd_gamma)


def lcs_contrast(model: FTCL, x: Output, y: Output, same: Tensor, config: Config) -> Tensor:
    """The longest common subsequence of two recordings: long if they share actions, else short."""
    x, y = lcs_candidates(x, y, config)
    lcs = softdp.lcs_loss(x, y, same, threshold=config.lcs_threshold, gamma=config.lcs_gamma)
    return config.lcs_weight * lcs


def unordered_contrast(model: FTCL, x: Output, y: Output, same: Tensor, config: Config) -> Tensor:
    """Control: the candidates and weights of both contrasts, scored without alignment."""
    fsd_x, fsd_y = fsd_candidates(model, x, y, same, config)
    fsd = mean_cosine_loss(fsd_x, fsd_y, same)
    lcs = mean_cosine_loss(*lcs_candidates(x, y, config), same)
    return config.fsd_weight * fsd + config.lcs_weight * lcs


def mean_cosine_loss(x: Tensor, y: Tensor, same: Tensor) -> Tensor:
    """Contrast of K times the mean cosine, (P, K, D). It is at most K, as an LCS is, and ignores order."""
    score = torch.einsum("pid,pjd->p", F.normalize(x, dim=2), F.normalize(y, dim=2)) / x.shape[1]
    return score[~same].mean() - score[same].mean()


def fsd_candidates(model: FTCL, x: Output, y: Output, same: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Candidates of both sides, (P, K, D).

    A negative pair's second side is background: the K snippets ranked below the first K, as in
    FTCL's release.
    """
    K = config.fsd_candidates
    x_action = candidates(x.embedding, x.attention[..., INSTANCE], 0, K)
    y_action = candidates(y.embedding, y.attention[..., INSTANCE], 0, K)
    y_background = candidates(y.embedding, y.attention[..., INSTANCE], K, 2 * K)
    other = torch.where(same[:, None, None], y_action, y_background)
    return model.project(x_action), model.project(other)


def lcs_candidates(x: Output, y: Output, config: Config) -> tuple[Tensor, Tensor]:
    """The snippets of highest instance attention of both sides, in temporal order, (P, K, D)."""
    K = config.lcs_candidates
    return tuple(candidates(o.embedding, o.attention[..., INSTANCE], 0, K) for o in (x, y))


def split_pairs(output: Output) -> tuple[Output, Output]:
    """The first and the second recordings of the pairs."""
    return Output(*(t[0::2] for t in output)), Output(*(t[1::2] for t in output))


CONTRASTS = {"fsd": fsd_contrast, "lcs": lcs_contrast, "unordered": unordered_contrast}
