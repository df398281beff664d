"""The ablation's table: each variant against the baseline of the same seed, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import numpy as np


def ablation_table(results: Mapping[str, np.ndarray], tiou: Sequence[float]) -> str:
    """The table of each variant's mAP in percent, (seeds, K): a row for each variant."""
    shown = [k for k, threshold in enumerate(tiou) if round(10 * threshold) % 2 == 1]
    levels = " / ".join(f"{tiou[k]:g}" for k in shown)
    heads = ["variant", "average mAP", "minus base, paired", "seeds above base"]
    heads += ["minus control, paired", f"at {levels}"]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    average = {variant: scores.mean(1) for variant, scores in results.items()}
    for variant, scores in results.items():
        cells = [variant, spread(average[variant], sign=""), "", "", ""]
        if variant not in ("untrained", "base"):
            gain = average[variant] - average["base"]
            cells[2:4] = spread(gain), f"{(gain > 0).sum()} of {len(gain)}"
        if variant not in ("untrained", "base", "control"):
            cells[4] = spread(average[variant] - average["control"])
        cells.append(" / ".join(f"{scores.mean(0)[k]:.0f}" for k in shown))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def spread(values: Sequence[float], sign: str = "+") -> str:
    """Mean and standard deviation over seeds."""
    deviation = stdev(map(float, values)) if len(values) > 1 else 0.0
    return f"{mean(map(float, values)):{sign}.1f} +- {deviation:.1f}"
