"""Checkpoints: what a run needs to continue as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

FORMAT = "softdp/examples/ftcl"  # marks a checkpoint as this example's
State = dict[str, Any]


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int) -> State:
    """All that the next epoch depends on."""
    cuda = torch.cuda.get_rng_state() if next(model.parameters()).is_cuda else None
    return {
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": cuda,
    }


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> int:
    """Restore a snapshot. Returns the epoch to continue with."""
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and next(model.parameters()).is_cuda:
        torch.cuda.set_rng_state(state["cuda_rng"])
    return state["epoch"]


def write_checkpoint(path: Path, checkpoint: State) -> None:
    """Write the whole file or nothing: an interrupted run keeps the last checkpoint."""
    temporary = path.with_suffix(".tmp")
    torch.save(checkpoint, temporary)
    temporary.replace(path)


def read_checkpoint(path: Path, fresh: State, epochs: int) -> State:
    """Read the checkpoint to resume. Raises ValueError, with the reason, if that is not possible."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"no checkpoint to resume: {path} is not there") from None
    except Exception:  # torch.load raises many kinds of errors on foreign files
        raise ValueError(f"{path} cannot be read as a checkpoint") from None
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this example")
    for key in ("seed", "warmup", "config"):
        if checkpoint[key] != fresh[key]:
            there, here = checkpoint[key], fresh[key]
            detail = "" if key == "config" else f": {there} there, {here} here"
            raise ValueError(f"{path} is from a run with another {key}{detail}; train anew")
    done = max(state["epoch"] for state in checkpoint["runs"].values())
    if done > epochs:
        raise ValueError(f"{path} has trained for {done} epochs already, --epochs is {epochs}")
    return checkpoint
