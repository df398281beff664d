"""The retrieval example: composed sequences, scores and metrics by hand, a short run end to end."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import astuple, replace
from statistics import mean
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, run_python
from skips import needs_packages

import softdp

EXAMPLE = ROOT / "examples" / "retrieval"


def example_modules(*names: str) -> SimpleNamespace:
    """Modules of the example, imported as train.py does, without leaving their names to others."""
    own = [path.stem for path in EXAMPLE.glob("*.py")]
    hidden = {name: sys.modules.pop(name) for name in own if name in sys.modules}
    sys.path.insert(0, str(EXAMPLE))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in own:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


core = example_modules("config", "evaluate", "scores")
VARIANTS, Setting = core.config.VARIANTS, core.config.Setting
ORDER, GAPS = VARIANTS["order"], VARIANTS["gaps"]
by_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture(scope="module")
def example() -> SimpleNamespace:
    """The modules that need the example's own packages."""
    needs_packages("aeon", "matplotlib", "tqdm", extra="examples")
    threads = torch.get_num_threads()
    yield example_modules("cli", "data", "fit", "report", "train", "tune")
    torch.set_num_threads(threads)


def small(config):
    """Four sequences an order, three training steps."""
    return replace(config, train_sequences=4, test_sequences=4, steps=3)


# Data


def test_orders_hold_the_same_phases_and_no_action_twice_in_a_row(example):
    order, gaps = (example.data.all_orders(config) for config in (ORDER, GAPS))
    assert len(order) == 24 and len(gaps) == 30
    for orders in (order, gaps):
        assert len(set(orders)) == len(orders)
        assert len({tuple(sorted(o)) for o in orders}) == 1
        assert all(a != b for o in orders for a, b in zip(o, o[1:], strict=False))


def test_durations_vary_by_the_warp(example):
    rng = np.random.default_rng(0)
    drawn = np.stack([example.data.durations(4, rng, ORDER) for _ in range(500)])
    assert (drawn.sum(1) == ORDER.snippets).all() and drawn.min() == ORDER.shortest
    assert drawn.max() > 15
    even = example.data.durations(4, rng, replace(ORDER, warp=0.0))
    assert even.tolist() == [6, 6, 6, 6]
    free = np.stack([example.data.durations(6, rng, GAPS) for _ in range(500)])
    assert free.min() == GAPS.shortest
    assert free.max() == round(GAPS.phase_snippets * np.exp(GAPS.warp)) and len(set(free.sum(1))) > 10


def test_crops_change_tempo_and_keep_their_ends(example):
    clips = np.arange(100.0)[None, None].repeat(2, axis=1)
    rng = np.random.default_rng(0)
    speeds = []
    for _ in range(200):
        ramp = example.data.crop(clips, 20, rng, ORDER)
        assert ramp.shape == (2, 20) and ramp.min() >= 0 and ramp.max() <= 99
        steps = np.diff(ramp[0])
        np.testing.assert_allclose(steps, steps[0])
        speeds.append(steps[0])
    half = np.exp(ORDER.warp / 2)
    assert 1 / half - 0.1 < min(speeds) < 0.6 and 1.8 < max(speeds) < half + 0.1
    assert example.data.crop(clips, 400, rng, ORDER).shape == (2, 400)  # longer than a clip: slower


@by_variant
def test_phases_are_crops_of_their_own_action_in_order(example, config):
    names = [*config.actions, *([config.background] if config.background else [])]
    clips = {name: np.full((3, 2, 100), float(k)) for k, name in enumerate(names)}
    rng = np.random.default_rng(0)
    order = example.data.all_orders(config)[5]
    signal, phases = example.data.compose(order, clips, rng, config)
    there = np.where(phases == example.data.BACKGROUND, len(config.actions), phases)
    np.testing.assert_array_equal(signal[0], there.repeat(config.hop))
    acted = phases[phases != example.data.BACKGROUND]
    changes = np.flatnonzero(np.diff(acted, prepend=-9))
    assert tuple(config.actions[k] for k in acted[changes]) == order


def test_snippets_are_centred_and_edges_repeat(example):
    features = example.data.snippet_features(np.arange(16.0)[None], ORDER)
    middle, std, change, highest, lowest = features.T
    np.testing.assert_allclose(lowest, [0, 2, 6, 10])
    np.testing.assert_allclose(highest, [5, 9, 13, 15])
    np.testing.assert_allclose(middle[1:3], [5.5, 9.5])
    np.testing.assert_allclose(change[1:3], 1)
    np.testing.assert_allclose(std[1:3], np.arange(8).std())


@by_variant
@pytest.mark.parametrize("validate", [False, True])
def test_test_orders_and_clips_are_unseen(example, config, validate, monkeypatch):
    config, drawn = small(config), []
    compose_split = example.data.compose_split
    monkeypatch.setattr(
        example.data, "compose_split", lambda *args: drawn.append(args[:2]) or compose_split(*args)
    )
    train, test = example.data.load(0, config, validate)
    (train_orders, train_clips), (test_orders, test_clips) = drawn
    assert not set(train_orders) & set(test_orders)
    orders = len(example.data.all_orders(config))
    assert len(train_orders) + len(test_orders) == (orders if not validate else orders - orders // 2)
    source = {clip.tobytes() for k in example.data.load_clips("train").values() for clip in k}
    used = [{clip.tobytes() for k in clips.values() for clip in k} for clips in (train_clips, test_clips)]
    assert not used[0] & used[1] and used[0] <= source and (used[1] <= source) == validate
    for split, count in ((train, len(train_orders)), (test, len(test_orders))):
        assert split.orders.bincount().tolist() == [4] * count
        assert split.features.shape == (4 * count, split.lengths.max(), 30)
        assert (split.lengths == 24).all() == (config.snippets == 24)
        padding = torch.arange(split.features.shape[1]) >= split.lengths[:, None]
        assert (split.features[padding] == 0).all()
        assert (split.phases[padding] == example.data.BACKGROUND).all()
    inside = torch.arange(train.features.shape[1]) < train.lengths[:, None]
    torch.testing.assert_close(train.features[inside].mean(0), torch.zeros(30), atol=1e-4, rtol=0)


def test_the_seed_draws_orders_and_sequences(example):
    config = small(GAPS)
    one, again, other = (example.data.load(seed, config) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for s, t in zip(one, again, strict=True) for a, b in zip(s, t, strict=True))
    assert one[0].features.shape != other[0].features.shape or not torch.equal(
        one[0].features, other[0].features
    )


# Metrics


def test_average_precision_by_hand():
    orders = torch.tensor([0, 0, 0, 1, 1])
    table = torch.zeros(5, 5)
    table[0] = torch.tensor([9.0, 0.9, 0.1, 0.5, 0.2])  # itself is not ranked; hits at ranks 1 and 4
    table[3] = torch.tensor([0.9, 0.8, 0.1, 9.0, 0.7])  # its only hit at rank 3
    found = core.evaluate.average_precision(table, orders)
    assert found[0].item() == pytest.approx((1 + 2 / 4) / 2)
    assert found[3].item() == pytest.approx(1 / 3)


def test_one_shot_accuracy_by_hand():
    orders = torch.tensor([0, 1, 0, 1])  # episodes: 0 and 1 are known, then 2 and 3
    table = torch.zeros(4, 4)
    table[2, 0], table[3, 0] = 1, 1  # the first: right, wrong
    table[0, 2], table[1, 3] = 1, 1  # the second: right, right
    assert core.evaluate.one_shot_accuracy(table, orders) == pytest.approx(3 / 4)


# Scores


def batch(*sequences):
    """Sequences of basis vectors, by their index, padded with zeros."""
    longest = max(map(len, sequences))
    embedding = torch.zeros(len(sequences), longest, 6)
    for row, sequence in zip(embedding, sequences, strict=True):
        row[: len(sequence)] = torch.eye(6)[list(sequence)]
    return core.scores.Embedded(embedding, torch.tensor([len(s) for s in sequences]))


def test_pool_is_blind_to_order_and_padding():
    found = core.scores.pool(batch([0, 1, 2], [2, 0, 1], [0, 3]), core.scores.all_pairs(3), Setting())
    torch.testing.assert_close(found, torch.tensor([1 / 3, 1 / 6, 1 / 6]))


def test_diagonal_compares_by_place():
    found = core.scores.diagonal(
        batch([0, 0, 1, 1], [0, 1, 1, 1], [0, 1], [1]), core.scores.all_pairs(4), Setting()
    )
    torch.testing.assert_close(found, torch.tensor([3 / 4, 1, 1 / 2, 3 / 4, 3 / 4, 1 / 2]))


def test_scores_of_equal_and_reversed_sequences():
    embedded, pairs = batch([0, 1, 2], [0, 0, 1, 2, 2], [2, 1, 0]), core.scores.all_pairs(3)
    lcs = core.scores.lcs(embedded, pairs, Setting(threshold=0.5))
    torch.testing.assert_close(lcs, torch.tensor([3 / 4, 1 / 3, 1 / 4]))
    dtw = core.scores.soft_dtw(embedded, pairs, Setting(gamma=0.0))
    torch.testing.assert_close(dtw, torch.tensor([0, -2 / 3, -4 / 4]))


def test_soft_dtw_with_a_gap_of_zero_is_soft_dtw():
    embedded, pairs = batch([0, 1, 2], [0, 0, 1, 2, 2]), core.scores.all_pairs(2)
    (cosine,) = core.scores.cosines(embedded, pairs, heads=1)
    setting = Setting(gamma=0.1)
    found = core.scores.soft_dtw(embedded, pairs, setting) * 4
    expected = softdp.reference.fsd_score(cosine - 1, 0.0, gamma=0.1, boundary="anchored",
        x_lengths=torch.tensor([3]), y_lengths=torch.tensor([5]))  # fmt: skip
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(core.scores.anchored(cosine - 1, 0.0, embedded, pairs, setting) * 4, expected)


@pytest.mark.parametrize("method", core.scores.SCORES)
def test_scores_are_symmetric_and_pass_padding_by(method):
    embedding, lengths = torch.randn(4, 9, 6), torch.tensor([9, 4, 7, 5])
    setting = Setting(gamma=0.1, threshold=0.1)
    pairs = core.scores.all_pairs(4)
    score = core.scores.SCORES[method]
    found = score(core.scores.Embedded(embedding, lengths), pairs, setting)
    torch.testing.assert_close(found, score(core.scores.Embedded(embedding, lengths), pairs.flip(1), setting))
    padding = torch.arange(9) >= lengths[:, None]
    other = core.scores.Embedded(embedding.masked_fill(padding[..., None], 7.0), lengths)
    torch.testing.assert_close(found, score(other, pairs, setting))


# Training


def test_contrasts_by_hand(example):
    pairs, orders = core.scores.all_pairs(3), torch.tensor([0, 0, 1])
    scores = torch.tensor([0.5, 0.1, 0.3])
    fsd = example.fit.contrast(scores, pairs, orders, Setting())
    assert fsd.item() == pytest.approx(0.2 - 0.5)
    supervised = example.fit.contrast(scores, pairs, orders, Setting(scale=2.0))
    expected = (np.log1p(np.exp(0.2 - 1)) + np.log1p(np.exp(0.6 - 1))) / 2
    assert supervised.item() == pytest.approx(expected)


def test_batches_hold_some_orders_and_some_sequences_of_each(example):
    orders = torch.arange(40) % 10
    config = replace(ORDER, batch_orders=4, batch_sequences=3)
    drawn = example.fit.draw(orders, config, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == 12
    assert sorted(orders[drawn].bincount().tolist(), reverse=True)[:4] == [3] * 4


@by_variant
def test_short_run_writes_its_files_and_repeats_itself(example, tmp_path, capsys, monkeypatch, config):
    monkeypatch.setitem(example.train.VARIANTS, "order", replace(small(config), test_sequences=2))
    measured = []
    for name in ("one", "again"):
        example.train.main(["--steps", "2", "--out", str(tmp_path / name)])
        written = json.loads((tmp_path / name / "results.json").read_text())
        assert written["variant"] == "order" and written["seeds"] == [0]
        assert written["config"]["steps"] == 2
        assert written["versions"] == example.report.versions()
        assert list(written["results"]) == list(core.scores.SCORES)
        for values in written["results"].values():
            values.pop("seconds")
        measured.append(written["results"])
        for picture in ("neighbours.png", "alignment.png"):
            assert (tmp_path / name / picture).stat().st_size > 0
    assert measured[0] == measured[1]
    printed = capsys.readouterr().out
    assert all(method in printed for method in core.scores.SCORES)


def test_training_through_fsd_retrieves_orders_that_pool_cannot(example):
    config = replace(ORDER, train_sequences=8, test_sequences=6, steps=40)
    train, test = example.data.load(0, config)
    torch.set_num_threads(1)
    found = {}
    for method in ("pool", "FSD"):
        setting = config.settings[method]
        model = example.fit.fit(method, setting, train, 0, config)
        table = example.fit.score_table(method, model, test, setting)
        found[method] = core.evaluate.average_precision(table, test.orders).mean().item()
    assert found["pool"] < 0.2 and found["FSD"] > 0.4


def test_a_report_names_the_builds_that_ran(example, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "9.9.9+cu999")  # the installer would say 9.9.9, or another
    written = json.loads(json.dumps(example.report.provenance()))
    assert written["versions"]["torch"] == written["softdp_build"]["torch_running"] == "9.9.9+cu999"
    assert set(written["versions"]) == {"python", "softdp", "torch", "numpy", "aeon"}
    assert written["versions"]["softdp"] == softdp.__version__


def test_table_pairs_by_seed(example):
    def values(*precision):
        return {"mAP": precision, "untrained_mAP": (0.0, 0.0), "one_shot": (1.0, 1.0)}

    rows = example.report.table(
        {"diagonal": values(10.0, 30.0), "soft-DTW": values(12.0, 34.0), "FSD": values(11.0, 36.0)}
    ).splitlines()
    assert rows[2].startswith("| diagonal | 20.0 +- 14.1 | 0.0 +- 0.0 | 1.0 +- 0.0 |  | -3.0 +- 1.4")
    assert rows[4].endswith("| +3.5 +- 3.5, 2 of 2 above | +0.5 +- 2.1, 1 of 2 above |")
    line = example.report.gap({"FSD": values(11.0, 36.0), "FSD, gap 0": values(12.0, 35.0)})
    assert line == "FSD minus FSD, gap 0, paired: +0.0 +- 1.4, 1 of 2 above"


def test_settings_are_as_good_as_the_best_of_those_offered(example):
    assert set(example.tune.GRIDS) == set(core.scores.SCORES) - {"FSD, gap 0"}
    for name, config in VARIANTS.items():
        found = json.loads((EXAMPLE / "results" / f"tune-{name}.json").read_text())["found"]
        assert config.settings["FSD, gap 0"] == config.settings["FSD"]
        for method in example.tune.GRIDS:
            setting = config.settings[method]
            rows = {tuple(r["setting"].values()): mean(r["mAP"]) for r in found if r["method"] == method}
            assert set(rows) == set(map(astuple, example.tune.GRIDS[method])) and len(rows) == 12
            assert rows[astuple(setting)] > max(rows.values()) - 0.7
        best = example.cli.tuned(str(EXAMPLE / "results" / f"tune-{name}.json"))
        assert list(best) == list(core.scores.SCORES)
        if name == "gaps":
            assert {m: astuple(s) for m, s in best.items()} == {
                m: astuple(s) for m, s in GAPS.settings.items()
            }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seeds", "0"], "must be 1 or more, got 0"),
        (["--steps", "few"], "invalid positive value: 'few'"),
        (["--seed", "-3"], "must be from 0"),
        (["--variant", "chaos"], "invalid choice: 'chaos'"),
        (["--out", "{file}"], "{file}"),
        (["--settings", "{file}"], "{file} is not a file that tune.py wrote"),
        (["--settings", "{file}.json"], "No such file"),
        (["--colour", "red"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_get_one_line(example, tmp_path, capsys, arguments, reason):
    file = tmp_path / "file"
    file.touch()
    arguments = ["--out", str(tmp_path), *(a.format(file=file) for a in arguments)]
    with pytest.raises(SystemExit) as stop:
        example.train.main(arguments)
    printed = capsys.readouterr().err
    assert stop.value.code == 2
    assert printed.startswith("train.py: error: ") and printed.count("\n") == 1
    assert reason.format(file=file) in printed


def test_missing_package_gets_one_line(tmp_path):
    message = "No module named 'aeon'"
    (tmp_path / "aeon.py").write_text(f"raise ModuleNotFoundError({message!r}, name='aeon')\n")
    # A script's own folder comes first on its path: run a copy that has the stub beside it.
    for path in EXAMPLE.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    done = run_python(tmp_path / "train.py")
    assert done.returncode == 2
    assert done.stderr.startswith(f"train.py: error: {message}") and done.stderr.count("\n") == 1
