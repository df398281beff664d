"""The alignment example: its pairs are as it says, and a short run learns and writes its picture."""

import importlib.util

import torch
from helpers import ROOT
from skips import needs_packages

needs_packages("matplotlib", "tqdm", extra="test")

spec = importlib.util.spec_from_file_location("warp", ROOT / "examples" / "alignment" / "warp.py")
warp = importlib.util.module_from_spec(spec)
spec.loader.exec_module(warp)


def test_a_warp_is_one_path_and_joins_steps_that_show_the_same():
    pairs = warp.draw_pairs(20, torch.eye(warp.FEATURES))
    for x, y, n, m, known in zip(*pairs, strict=True):
        cells = known.nonzero()
        assert cells[0].tolist() == [0, 0] and cells[-1].tolist() == [n - 1, m - 1]
        moves = cells.diff(dim=0)
        assert ((moves == 0) | (moves == 1)).all() and moves.any(1).all()
        i, j = cells.T
        assert torch.equal(x[i, : warp.SIGNAL], y[j, : warp.SIGNAL])
        assert not (x[i, warp.SIGNAL :] == y[j, warp.SIGNAL :]).any()


def test_the_error_of_no_alignment_is_1_and_of_the_warp_0(monkeypatch):
    pairs = warp.draw_pairs(3, torch.eye(warp.FEATURES))
    for E, error in ((0 * pairs.warp, 1.0), (pairs.warp, 0.0)):
        monkeypatch.setattr(warp.softdp, "fsd_alignment", lambda *args, E=E, **options: E)
        assert warp.errors(warp.Aligner(), pairs).tolist() == [error] * 3


def test_a_short_run_learns_and_writes_its_picture(tmp_path, capsys, threads):
    threads(1)  # the script's own choice, which must not outlast it
    warp.main(["--steps", "20", "--out", str(tmp_path / "new")])
    assert (tmp_path / "new" / "warp.png").stat().st_size > 10_000
    rows = {r[:15].strip(): r[15:].split() for r in capsys.readouterr().out.splitlines()}
    before, after = (float(rows[f"{when} training"][1]) for when in ("before", "after"))
    assert before > 0.8 and after < 0.5
