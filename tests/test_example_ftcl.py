"""The FTCL example: metric against golden values, localization by hand, a short run end to end."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import GOLDEN, ROOT, run_python
from skips import needs_packages

EXAMPLE = ROOT / "examples" / "ftcl"


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


core = example_modules("config", "evaluate", "localize", "model")
CONFIG = core.config.Config()
Segment, Detection = core.evaluate.Segment, core.evaluate.Detection


@pytest.fixture(scope="module")
def example() -> SimpleNamespace:
    """The modules that need the example's own packages."""
    needs_packages("aeon", "matplotlib", "tqdm", extra="examples")
    threads = torch.get_num_threads()
    yield example_modules("ablate", "data", "train")
    torch.set_num_threads(threads)


# Evaluation


def test_temporal_map_reproduces_golden_values():
    golden = json.loads((GOLDEN / "temporal_map.json").read_text())
    truth = {
        video: [Segment(*a["segment"], a["label"]) for a in entry["annotations"]]
        for video, entry in golden["ground_truth"].items()
    }
    predictions = {
        video: [Detection(*d["segment"], d["label"], d["score"]) for d in entries]
        for video, entries in golden["predictions"].items()
    }
    found = core.evaluate.mean_average_precision(truth, predictions, golden["tiou"])
    np.testing.assert_allclose(found, golden["mAP"], rtol=0, atol=1e-6)


def test_temporal_map_by_hand():
    truth = {
        "one": [Segment(0, 10, "run"), Segment(20, 30, "run")],
        "two": [Segment(0, 10, "walk")],
    }
    predictions = {
        "one": [
            Detection(0, 10, "run", 0.9),  # tIoU 1
            Detection(0, 8, "run", 0.8),  # tIoU 0.8, but that segment is taken
            Detection(24, 34, "run", 0.7),  # tIoU 6 / 14
            Detection(0, 10, "swim", 1.0),  # no such class in the ground truth
        ],
        "three": [Detection(0, 10, "walk", 0.5)],  # no such recording
    }
    found = core.evaluate.mean_average_precision(truth, predictions, [0.4, 0.5])
    # run at 0.4: precisions 1 and 2/3 at two recalls of 1/2; at 0.5: only the first. walk: 0.
    np.testing.assert_allclose(found, [(1 / 2 + 1 / 3 + 0) / 2, (1 / 2 + 0) / 2])


def test_temporal_map_gives_a_detection_its_second_best_segment():
    truth = {"one": [Segment(0, 10, "run"), Segment(10, 16, "run")]}
    predictions = {"one": [Detection(0, 10, "run", 0.9), Detection(0, 16, "run", 0.8)]}
    found = core.evaluate.mean_average_precision(truth, predictions, [0.3])
    np.testing.assert_allclose(found, [1.0])


def test_temporal_map_without_detections_is_zero_and_without_segments_an_error():
    truth = {"one": [Segment(0, 10, "run")]}
    assert core.evaluate.mean_average_precision(truth, {}, [0.1, 0.5]).tolist() == [0, 0]
    with pytest.raises(ValueError, match="no segment"):
        core.evaluate.mean_average_precision({"one": []}, {}, [0.5])


# Localization


def test_runs_are_half_open_and_two_samples_or_longer():
    mask = np.array([1, 1, 0, 1, 0, 1, 1, 1], bool)
    assert core.localize.runs(mask).tolist() == [[0, 2], [5, 8]]
    assert core.localize.runs(np.zeros(4, bool)).shape == (0, 2)


def test_proposals_over_thresholds_are_distinct():
    curve = np.array([0.0, 0.3, 0.3, 0.8, 0.8, 0.3, 0.0])
    spans = core.localize.proposals([curve, curve], (0.2, 0.6, 0.2))
    assert spans.tolist() == [[1, 6], [3, 5]]
    assert core.localize.proposals([np.zeros(5)], (0.2, 0.6, 0.2)).shape == (0, 2)


def test_outer_inner_contrast():
    curve = np.array([0.0, 0.2, 1.0, 1.0, 1.0, 1.0, 0.4, 0.0])
    spans = np.array([[2, 6], [0, 8]])  # one sample on either side; none outside
    found = core.localize.outer_inner_contrast(curve, spans, 0.25)
    np.testing.assert_allclose(found, [1 - 0.3, curve.mean()])


def test_outer_inner_contrast_of_a_short_span_has_an_outside():
    found = core.localize.outer_inner_contrast(np.full(10, 0.7), np.array([[4, 6]]), 0.25)
    np.testing.assert_allclose(found, [0], atol=1e-12)


def test_nms_keeps_the_best_of_overlapping_spans():
    spans = np.array([[0, 10], [1, 10], [20, 30], [5, 15]])
    score = np.array([0.5, 0.9, 0.1, 0.4])  # tIoU of the last with the best: 5 / 14
    assert core.localize.nms(spans, score, 0.5) == [1, 3, 2]
    assert core.localize.nms(spans[:0], score[:0], 0.5) == []


def test_upsampling_keeps_centres():
    found = core.localize.upsample(np.array([0.0, 1.0]), 4)
    np.testing.assert_allclose(found, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])


def test_kept_classes_fall_back_to_the_best():
    assert core.localize.kept_classes(np.array([0.3, 0.1, 0.6]), 0.25) == [0, 2]
    assert core.localize.kept_classes(np.array([0.1, 0.2, 0.1]), 0.25) == [1]


def test_localize_finds_a_clean_action():
    attention, probability = np.full(100, 0.05), np.zeros((100, CONFIG.classes))
    probability[:, -1] = 1
    attention[30:50], probability[30:50] = 0.95, np.eye(CONFIG.classes)[1]
    video = np.array([0.02, 0.9, 0.02, 0.06])
    best = core.localize.localize(attention, probability, video, CONFIG)[0]
    assert best.label == CONFIG.actions[1]
    np.testing.assert_allclose([best.start, best.end], [12, 20], atol=0.4)


def test_candidates_are_ranked_by_attention_and_in_temporal_order():
    attention = torch.tensor([[0.1, 0.9, 0.3, 0.8, 0.7]])
    embedding = torch.arange(5.0)[None, :, None]
    assert core.model.candidates(embedding, attention, 0, 2).flatten().tolist() == [1, 3]
    assert core.model.candidates(embedding, attention, 2, 4).flatten().tolist() == [2, 4]


# Data


def test_recordings_are_composed_as_labelled(example):
    clips = example.data.load_clips("train")
    recordings = example.data.compose_split(clips, 1000, CONFIG)
    assert len(recordings) == CONFIG.recordings
    labels = example.data.video_labels(recordings, CONFIG)
    seconds = CONFIG.recording_samples / CONFIG.sample_rate
    shortest, longest = (n / CONFIG.sample_rate for n in CONFIG.instance_samples)
    for recording, row in zip(recordings, labels, strict=True):
        segments = recording.segments
        assert recording.signal.shape == (CONFIG.recording_samples, 6)
        assert CONFIG.instances[0] <= len(segments) <= CONFIG.instances[1]
        times = [0.0, *(t for s in segments for t in (s.start, s.end)), seconds]
        assert times == sorted(times)
        assert all(shortest - 1e-9 <= s.end - s.start <= longest + 1e-9 for s in segments)
        occurring = {s.label for s in segments}
        assert occurring == {a for a, present in zip(CONFIG.actions, row, strict=True) if present}
        assert 1 <= len(occurring) <= 2


def test_segments_hold_crops_of_their_own_class(example):
    rng = np.random.default_rng(0)
    classes = [CONFIG.background, *CONFIG.actions]
    clips = {name: np.full((3, 2, 100), float(k)) for k, name in enumerate(classes)}
    recording = example.data.compose(clips, rng, CONFIG)
    expected = np.zeros(CONFIG.recording_samples)
    for s in recording.segments:
        start, end = round(s.start * CONFIG.sample_rate), round(s.end * CONFIG.sample_rate)
        expected[start:end] = classes.index(s.label)
    np.testing.assert_array_equal(recording.signal[:, 0], expected)


def test_training_sees_labels_and_no_segments(example):
    train, test = example.data.load(0, CONFIG)
    assert train._fields == ("features", "labels")
    steps = CONFIG.recording_samples // CONFIG.hop
    assert train.features.shape == test.features.shape == (CONFIG.recordings, steps, 30)
    assert train.labels.shape == (CONFIG.recordings, len(CONFIG.actions))
    torch.testing.assert_close(train.features.mean((0, 1)), torch.zeros(30), atol=1e-4, rtol=0)
    again, other = example.data.load(0, CONFIG)[0], example.data.load(1, CONFIG)
    assert torch.equal(train.features, again.features)
    assert not torch.equal(train.features, other[0].features)
    assert other[1].segments == test.segments


def test_snippets_are_centred_and_edges_repeat(example):
    ramp = np.arange(16.0)[:, None]
    mean, std, change, highest, lowest = example.data.snippet_features(ramp, CONFIG).T
    np.testing.assert_allclose(lowest, [0, 2, 6, 10])
    np.testing.assert_allclose(highest, [5, 9, 13, 15])
    np.testing.assert_allclose(mean[1:3], [5.5, 9.5])
    np.testing.assert_allclose(change[1:3], 1)
    np.testing.assert_allclose(std[1:3], np.arange(8).std())


def test_pairs_share_all_labels_or_none(example):
    labels = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]])
    pairs = example.data.Pairs(labels, 8)
    drawn = labels[pairs.draw()]
    same = (drawn[:, 0] == drawn[:, 1]).all(1)
    assert torch.equal(same, pairs.target) and same.sum() == 4
    assert (drawn[~same].prod(1) == 0).all()


# The script


def test_short_run_writes_its_files_and_resumes_exactly(example, tmp_path, capsys, monkeypatch):
    small = replace(CONFIG, recordings=24)
    monkeypatch.setattr(example.train, "Config", lambda: small)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    example.train.main(["--epochs", "2", "--out", str(whole)])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("untrained", "baseline", "FTCL", "0.7", "average"))
    for name in ("model.pt", "timeline.png", "alignment.png"):
        assert (whole / name).stat().st_size > 0
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["tiou"] == list(CONFIG.tiou) and metrics["steps"] == 40
    assert set(metrics["mAP"]) == {"untrained", "baseline", "FTCL"}

    example.train.main(["--epochs", "1", "--out", str(parts)])
    example.train.main(["--epochs", "2", "--out", str(parts), "--resume"])
    assert (parts / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    weights = [torch.load(out / "model.pt", weights_only=True)["model"] for out in (whole, parts)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    for arguments, reason in (
        (["--epochs", "1"], "has trained for 2 epochs already"),
        (["--seed", "1"], "another seed: 0 there, 1 here"),
        (["--epochs", "20"], "another warmup: 20 there, 100 here"),
    ):
        with pytest.raises(SystemExit) as stop:
            example.train.main([*arguments, "--out", str(parts), "--resume"])
        assert stop.value.code == 2 and reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--epochs", "-1"], "must be 1 or more, got -1"),
        (["--epochs", "few"], "invalid positive value: 'few'"),
        (["--seed", "-3"], "must be from 0"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--device", "meta"], "'meta' is not supported"),
        (["--device", "cuda:99"], "'cuda:99' is not there"),
        (["--seeds", "3"], "--seeds needs --ablate"),
        (["--ablate", "--resume"], "--ablate cannot be resumed"),
        (["--resume"], "no checkpoint to resume"),
        (["--out", "{file}"], "{file}"),
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


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04", {"model": 1}, [1]])
def test_foreign_checkpoint_gets_one_line(example, tmp_path, capsys, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(SystemExit) as stop:
        example.train.main(["--out", str(tmp_path), "--resume"])
    printed = capsys.readouterr().err
    assert stop.value.code == 2
    assert str(path) in printed and "checkpoint" in printed and printed.count("\n") == 1


def test_missing_package_gets_one_line(tmp_path):
    message = "No module named 'aeon'"
    (tmp_path / "aeon.py").write_text(f"raise ModuleNotFoundError({message!r}, name='aeon')\n")
    # A script's own folder comes first on its path: run a copy that has the stub beside it.
    for path in EXAMPLE.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    done = run_python(tmp_path / "train.py")
    assert done.returncode == 2
    assert done.stderr.startswith(f"train.py: error: {message}") and done.stderr.count("\n") == 1


def test_ablation_table_pairs_by_seed(example):
    base = np.array([[10.0, 20.0], [30.0, 40.0]])
    table = example.ablate.ablation_table(
        {"untrained": base - 10, "base": base, "+ FSD": base + [[1], [3]], "control": base + 1},
        [0.1, 0.3],
    )
    rows = {row.split("|")[1].strip(): row for row in table.splitlines()}
    assert "| 25.0 +- 14.1 |" in rows["base"] and rows["base"].endswith("| 20 / 30 |")
    assert "| +2.0 +- 1.4 | 2 of 2 | +1.0 +- 1.4 |" in rows["+ FSD"]
    assert "| +1.0 +- 0.0 | 2 of 2 |  |" in rows["control"]
