"""Find sequences with the same order of phases: train one encoder through each score in turn.

python examples/retrieval/train.py                             one seed; writes runs/retrieval/
python examples/retrieval/train.py --seeds 8                   the README's table
python examples/retrieval/train.py --seeds 8 --variant gaps    with background and unequal lengths
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

try:
    import torch
    from cli import parse
    from config import VARIANTS
    from data import load
    from evaluate import average_precision, one_shot_accuracy
    from fit import fit, score_table, untrained
    from plots import plot_alignment, plot_neighbours
    from report import gap, provenance, table
    from tqdm import tqdm
except ImportError as error:
    reason = " ".join(str(error).split())
    needs = "this example needs softdp, aeon, matplotlib and tqdm"
    print(f"train.py: error: {reason} ({needs})", file=sys.stderr)
    raise SystemExit(2) from None


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse("train.py", argv)
    config = VARIANTS[args.variant]
    settings = args.settings or config.settings
    config = replace(config, steps=args.steps or config.steps, settings=settings)
    # One thread is fastest: the tensors are small. Its sums are the same on any machine.
    torch.set_num_threads(1)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(str(error))
    measures = "mAP", "untrained_mAP", "one_shot", "seconds"
    results = {method: {measure: [] for measure in measures} for method in config.settings}
    seeds = range(args.seed, args.seed + args.seeds)
    bar = tqdm(total=len(seeds) * len(results) * config.steps, unit="step")

    def tick(loss: float) -> None:
        bar.update()
        if bar.n % 25 == 0:
            bar.set_postfix(loss=f"{loss:.2f}")

    for seed in seeds:
        train, test = load(seed, config)
        models, tables = {}, {}
        for method, setting in config.settings.items():
            bar.set_description(f"seed {seed}, {method}")
            began = time.perf_counter()
            models[method] = fit(method, setting, train, seed, config, tick)
            seconds = time.perf_counter() - began
            start = score_table(method, untrained(train, seed, config), test, setting)
            tables[method] = score_table(method, models[method], test, setting)
            found = (
                100 * float(average_precision(tables[method], test.orders).mean()),
                100 * float(average_precision(start, test.orders).mean()),
                100 * one_shot_accuracy(tables[method], test.orders),
                seconds,
            )
            for measure, value in zip(measures, found, strict=True):
                results[method][measure].append(value)
        if seed == args.seed:
            query = plot_neighbours(args.out / "neighbours.png", tables, test, config)
            plot_alignment(args.out / "alignment.png", query, models["FSD"], tables["FSD"], test, config)
    bar.close()

    written = {"variant": args.variant, "seeds": list(seeds), **provenance(), "results": results}
    written["config"] = asdict(config)
    (args.out / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    print("in percent, higher is better; the last two columns compare the mAP of the same seeds")
    print(table(results), gap(results), sep="\n\n")
    if config.steps < VARIANTS[args.variant].steps:
        print(f"a short run: the numbers of the README take --steps {VARIANTS[args.variant].steps}")
    print(f"wrote results.json, neighbours.png and alignment.png to {args.out}")


if __name__ == "__main__":
    main()
