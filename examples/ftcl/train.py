"""FTCL end to end: train on video labels, localize actions in time, compare with the baseline.

python examples/ftcl/train.py                       on one CPU core; writes runs/ftcl/
python examples/ftcl/train.py --ablate --seeds 6    what each of the two losses adds
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

try:
    import numpy as np
    import torch
    from ablate import ablation_table
    from checkpoint import FORMAT, State, read_checkpoint, restore, snapshot, write_checkpoint
    from cli import EPOCHS, parse
    from config import Config
    from data import Pairs, TestSet, TrainingSet, load
    from evaluate import mean_average_precision
    from localize import detect, predict
    from losses import VARIANTS, training_loss
    from model import FTCL
    from plots import plot_alignment, plot_timeline
    from tqdm import tqdm
except ImportError as error:
    reason = " ".join(str(error).split())
    needs = "this example needs softdp, aeon, matplotlib and tqdm"
    print(f"train.py: error: {reason} ({needs})", file=sys.stderr)
    raise SystemExit(2) from None


def fit(
    variant: str,
    train: TrainingSet,
    seed: int,
    epochs: int,
    config: Config,
    device: torch.device,
    state: State | None = None,
    save: Callable[[State], None] = lambda state: None,
    name: str | None = None,
) -> FTCL:
    """Train one variant, from a checkpoint's state if that is given.

    save is called after each epoch. The progress bar shows the name, or the variant.
    """
    torch.manual_seed(seed)
    model = FTCL(train.features.shape[2], config).to(device).train()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    pairs = Pairs(train.labels, config.pairs)
    features, labels, same = (t.to(device) for t in (*train, pairs.target))
    start = restore(model, optimizer, state) if state else 0
    title = f"{name or variant}, seed {seed}"
    bar = tqdm(range(start, epochs), title, total=epochs, initial=start, unit="epoch")
    for epoch in bar:
        for step in range(epoch * config.epoch_steps, (epoch + 1) * config.epoch_steps):
            drawn = pairs.draw().to(device)
            contrasts = VARIANTS[variant] if step >= config.warmup(epochs) else ()
            loss = training_loss(model, features[drawn], labels[drawn], same, contrasts, config)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.2f}")
        save(snapshot(model, optimizer, epoch + 1))
    return model


def score(model: FTCL, test: TestSet, config: Config) -> np.ndarray:
    """mAP in percent at each tIoU threshold, (K,)."""
    detections = detect(predict(model, test.features), config)
    predictions = dict(zip(test.segments, detections, strict=True))
    return 100 * mean_average_precision(test.segments, predictions, config.tiou)


def untrained(train: TrainingSet, seed: int, config: Config) -> FTCL:
    """The model that a seed's training starts from. Its mAP is chance."""
    torch.manual_seed(seed)
    return FTCL(train.features.shape[2], config)


def compare(args: argparse.Namespace, checkpoint: State, config: Config) -> None:
    """The default run: train FTCL and its baseline, and write the files that the README lists."""
    train, test = load(args.seed, config)
    runs = checkpoint["runs"]
    scores = {"untrained": score(untrained(train, args.seed, config), test, config)}

    for name, variant in (("baseline", "base"), ("FTCL", "+ both")):

        def save(state: State, variant: str = variant) -> None:
            runs[variant] = state
            write_checkpoint(args.out / "checkpoint.pt", checkpoint)

        began = time.perf_counter()
        state = runs.get(variant)
        model = fit(variant, train, args.seed, args.epochs, config, args.device, state, save, name)
        print(f"{name}: trained in {time.perf_counter() - began:.1f} s")
        scores[name] = score(model, test, config)

    metrics = {
        "seed": args.seed,
        "steps": args.epochs * config.epoch_steps,
        "tiou": config.tiou,
        "mAP": {name: values.tolist() for name, values in scores.items()},
        "average_mAP": {name: values.mean() for name, values in scores.items()},
    }
    (args.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    model.cpu()
    final = {"model": model.state_dict(), "seed": args.seed, "config": asdict(config)}
    torch.save(final, args.out / "model.pt")
    plot_timeline(args.out / "timeline.png", model, test, config)
    plot_alignment(args.out / "alignment.png", model, train, config)
    print("mean average precision (mAP) of the detections: higher is better, 100 is perfect")
    print(report(scores, config))
    if args.epochs < EPOCHS:
        print(f"a short run: the numbers of the README take --epochs {EPOCHS}")
    print(f"wrote metrics.json, model.pt, checkpoint.pt, timeline.png and alignment.png to {args.out}")


def report(scores: dict[str, np.ndarray], config: Config) -> str:
    """The table of mAP at each tIoU, with a column for each model."""
    lines = ["mAP in % at tIoU " + "".join(f"{name:>12}" for name in scores)]
    rows = [(f"{t:.1f}", [v[k] for v in scores.values()]) for k, t in enumerate(config.tiou)]
    rows.append(("average", [v.mean() for v in scores.values()]))
    lines += [f"{name:>16} " + "".join(f"{value:12.1f}" for value in row) for name, row in rows]
    return "\n".join(lines)


def run_ablation(args: argparse.Namespace, config: Config) -> None:
    """Train every variant on every seed, print the table and write ablation.json."""
    names = ["untrained", *VARIANTS]
    results: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for seed in range(args.seed, args.seed + args.seeds):
        train, test = load(seed, config)
        results["untrained"].append(score(untrained(train, seed, config), test, config))
        for variant in VARIANTS:
            model = fit(variant, train, seed, args.epochs, config, args.device)
            results[variant].append(score(model, test, config))
    table = {name: np.stack(rows) for name, rows in results.items()}
    written = {"tiou": config.tiou, "mAP": {name: rows.tolist() for name, rows in table.items()}}
    (args.out / "ablation.json").write_text(json.dumps(written, indent=2) + "\n")
    print(ablation_table(table, config.tiou))


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse(argv)
    config = Config()
    # One thread is fastest: the tensors are small. Its sums are the same on any machine.
    torch.set_num_threads(1)
    checkpoint = {
        "format": FORMAT,
        "seed": args.seed,
        "warmup": config.warmup(args.epochs),
        "config": asdict(config),
        "runs": {},
    }
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        if args.resume:
            checkpoint = read_checkpoint(args.out / "checkpoint.pt", checkpoint, args.epochs)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if args.ablate:
        run_ablation(args, config)
    else:
        compare(args, checkpoint, config)


if __name__ == "__main__":
    main()
