"""Pictures: what is drawn is the table cropped to the lengths and the path through its cells' centres."""

import io

import numpy as np
import pytest
import torch
from helpers import run_python, scores
from skips import needs_packages

import softdp

needs_packages("matplotlib", extra="test")
from matplotlib.figure import Figure  # noqa: E402

from softdp import plot  # noqa: E402


@pytest.fixture
def axes():
    """Two axes; what a test drew into them must also render, without a warning."""
    figure = Figure(layout="constrained")
    panels = figure.subplots(1, 2)
    yield panels
    if any(panel.images for panel in panels):
        figure.savefig(io.BytesIO())


def drawn(panel) -> np.ndarray:
    return panel.images[0].get_array().filled(np.nan)


def line(panel) -> list[list[float]]:
    return panel.lines[-1].get_xydata().tolist()


# ---- matrix --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_the_image_is_the_table_cropped_to_the_lengths(axes, dtype):
    table = (4 * scores(6, 9)).to(dtype)
    assert plot.matrix(table, axes[0], x_length=4, y_length=torch.tensor(7)) is axes[0]
    np.testing.assert_array_equal(drawn(axes[0]), table[:4, :7].double().numpy())
    plot.matrix(table, axes[1])
    np.testing.assert_array_equal(drawn(axes[1]), table.double().numpy())


def test_gradients_strides_and_inputs_are_left_alone(axes):
    table = scores(9, 6).requires_grad_()
    before = table.detach().clone()
    plot.matrix(table.T, axes[0])
    np.testing.assert_array_equal(drawn(axes[0]), before.T.numpy())
    assert torch.equal(table, before) and table.requires_grad and table.grad is None


def test_x_runs_down_and_y_to_the_right_in_steps_from_0(axes):
    plot.matrix(scores(4, 7), axes[0])
    assert axes[0].images[0].get_extent() == [-0.5, 6.5, 3.5, -0.5]
    assert axes[0].get_ylim() == (3.5, -0.5) and axes[0].get_xlim() == (-0.5, 6.5)
    assert axes[0].get_ylabel() == "x, downwards (steps)"
    assert axes[0].get_xlabel() == "y, rightwards (steps)"
    assert all(tick == round(tick) for tick in axes[0].get_xticks())


def test_in_seconds_a_cell_lasts_as_long_as_its_step(axes):
    plot.matrix(scores(6, 9), axes[0], x_length=4, seconds=0.5)
    assert axes[0].images[0].get_extent() == [0, 4.5, 2, 0]
    assert axes[0].get_ylabel() == "x, downwards (s)"
    plot.matrix(scores(6, 9), axes[1], seconds=(0.5, 2))
    assert axes[1].images[0].get_extent() == [0, 18, 3, 0]


def test_colours_are_limited_by_finite_numbers_and_the_bar_is_labelled(axes):
    table = torch.tensor([[-torch.inf, 1.0], [3.0, torch.nan]])
    plot.matrix(table, axes[0], label="score")
    image = axes[0].images[0]
    assert image.get_clim() == (1, 3)
    assert image.colorbar.ax.get_ylabel() == "score (grey: \N{MINUS SIGN}inf, red: NaN or +inf)"
    plot.matrix(torch.eye(3), axes[1], label="mass", vmin=-1, vmax=2, cmap="PuOr")
    image = axes[1].images[0]
    assert image.get_clim() == (-1, 2) and image.get_cmap().name == "PuOr"
    assert image.colorbar.ax.get_ylabel() == "mass"


def test_forbidden_cells_are_grey_and_spoilt_ones_red(axes):
    table = torch.tensor([[0.0, -torch.inf, torch.nan, torch.inf]])
    plot.matrix(table, axes[0])
    under, over = axes[0].images
    grey = under.to_rgba(under.get_array())[0, 1]
    assert grey[0] == grey[1] == grey[2] and 0.5 < grey[0] < 0.9
    assert over.get_array().mask.tolist() == [[True, True, False, False]]
    assert over.to_rgba(over.get_array())[0, 2].tolist() == [1, 0, 0, 1]
    plot.matrix(torch.tensor([[-torch.inf, 0.0]]), axes[1])
    assert len(axes[1].images) == 1


@pytest.mark.parametrize("value", [-torch.inf, torch.nan, torch.inf, 2.0])
def test_a_table_of_one_value_is_drawn(axes, value):
    plot.matrix(torch.full((2, 3), value), axes[0], values=".1f")
    assert len(axes[0].texts) == 6


def test_numbers_stand_in_their_cells_and_can_be_told_from_them(axes):
    plot.matrix(torch.tensor([[-1.0, 0.25, 1.0]]), axes[0], seconds=2, cmap="gray", values=".2f")
    texts = axes[0].texts
    assert [t.get_text() for t in texts] == ["\N{MINUS SIGN}1.00", "0.25", "1.00"]
    assert [t.get_position() for t in texts] == [(1, 1), (3, 1), (5, 1)]
    assert [t.get_color() for t in texts] == ["white", "black", "black"]


# ---- path ----------------------------------------------------------------------------------------


def test_a_path_runs_through_the_centres_of_its_cells(axes):
    match = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]).expand(2, -1, -1)
    lengths = {"y_lengths": torch.tensor([3, 2])}
    best = softdp.fsd_path(match, -0.5, boundary="anchored", **lengths)
    for pair, expected in enumerate([[[0, 0], [1, 1], [2, 1]], [[0, 0], [1, 1]]]):
        plot.matrix(match[pair], axes[pair])
        limits = axes[pair].get_xlim(), axes[pair].get_ylim()
        assert plot.path(best, axes[pair], pair=pair) is axes[pair]
        assert line(axes[pair]) == expected
        assert limits == (axes[pair].get_xlim(), axes[pair].get_ylim())
        for same in (best.steps[pair], best.steps[pair, :, :2], best.tolist()[pair]):
            plot.path(same, axes[pair])
            assert line(axes[pair]) == expected
    plot.path(best, axes[0], seconds=(0.5, 2))
    assert line(axes[0]) == [[1, 0.25], [3, 0.75], [5, 0.75]]


def test_a_path_of_no_cells_is_no_line(axes):
    plot.matrix(torch.eye(2), axes[0])
    forbidden = torch.full((1, 2, 2), -torch.inf)
    for cells in (softdp.fsd_path(forbidden, 0.0), [], torch.zeros(0, 2, dtype=torch.int64)):
        plot.path(cells, axes[0])
        assert line(axes[0]) == []


def test_a_line_has_matplotlibs_options_and_a_dark_edge_by_default(axes):
    plot.matrix(torch.eye(2), axes[0])
    plot.path([(0, 0), (1, 1)], axes[0])
    plot.path([(0, 0), (1, 1)], axes[0], c="red", lw=3, label="known")
    plain, red = axes[0].lines
    assert plain.get_color() == "white" and plain.get_path_effects()
    assert red.get_color() == "red" and red.get_linewidth() == 3 and not red.get_path_effects()
    assert red.get_label() == "known"


# ---- a pair --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("gap_shape", [None, (3, 1, 1), (6, 9), (3, 6, 9)])
def test_fsd_pair_draws_that_pairs_alignment_and_path(axes, dtype, gap_shape):
    match = scores(3, 6, 9).to(dtype).requires_grad_()
    gap = -0.3 if gap_shape is None else scores(*gap_shape).to(dtype).requires_grad_()
    lengths = {"x_lengths": torch.tensor([6, 5, 0]), "y_lengths": torch.tensor([9, 7, 2])}
    left, right = plot.fsd_pair(
        match, gap, gamma=0.3, boundary="anchored", **lengths, pair=1, seconds=0.5, axes=axes
    )
    assert left is axes[0] and right is axes[1]
    E = softdp.fsd_alignment(match, gap, gamma=0.3, boundary="anchored", **lengths)
    np.testing.assert_array_equal(drawn(left), match[1, :5, :7].detach().double().numpy())
    np.testing.assert_allclose(drawn(right), E[1, :5, :7].detach().double().numpy(), rtol=1e-5, atol=1e-6)
    assert right.images[0].get_clim() == (0, 1)
    path = softdp.fsd_path(match, gap, boundary="anchored", **lengths).tolist()[1]
    assert line(left) == line(right) == [[0.5 * (j + 0.5), 0.5 * (i + 0.5)] for i, j, _ in path]
    assert match.grad is None


def test_lcs_pair_marks_what_is_common(axes):
    c = torch.tensor([[[0.9, 0.1, 0.2], [0.2, 0.3, 0.95]], [[0.0, 0.0, 0.0], [0.0, 0.9, 0.9]]])
    left, right = plot.lcs_pair(c, threshold=0.8, y_lengths=torch.tensor([3, 2]), pair=1, axes=axes)
    np.testing.assert_array_equal(drawn(left), c[1, :, :2].double().numpy())
    np.testing.assert_array_equal(drawn(right), [[0, 0], [0, 1]])
    (marked,) = left.lines
    assert marked.get_xydata()[marked.get_markevery()].tolist() == [[1, 1]]


@pytest.mark.parametrize("boundary", ["anchored", "subsequence"])
def test_soft_dtw_pair_draws_costs_and_where_they_align(axes, boundary):
    cost = scores(2, 4, 9).abs()
    lengths = {"x_lengths": torch.tensor([4, 3]), "y_lengths": torch.tensor([9, 8])}
    left, right = plot.soft_dtw_pair(cost, gamma=0.2, boundary=boundary, **lengths, pair=1, axes=axes)
    np.testing.assert_array_equal(drawn(left), cost[1, :3, :8].numpy())
    E = softdp.soft_dtw_alignment(cost, gamma=0.2, boundary=boundary, **lengths)
    np.testing.assert_allclose(drawn(right), E[1, :3, :8].numpy(), rtol=1e-5, atol=1e-6)
    path = softdp.soft_dtw_path(cost, boundary=boundary, **lengths).tolist()[1]
    assert line(left) == line(right) == [[j, i] for i, j, _ in path]


@pytest.mark.parametrize("boundary", ["global", "overlap"])
def test_needleman_wunsch_pair_marks_the_matches(axes, boundary):
    match = torch.full((2, 4, 4), -1.0)
    match[1, 0, 1], match[1, 1, 2], match[1, 2, 3] = 1, 1, 1  # y's first step has no partner
    gap = torch.tensor([-0.1, -0.2])
    left, right = plot.needleman_wunsch_pair(match, gap, gamma=0.2, boundary=boundary, pair=1, axes=axes)
    E = softdp.needleman_wunsch_alignment(match, gap, gamma=0.2, boundary=boundary)
    np.testing.assert_allclose(drawn(right), E[1].numpy(), rtol=1e-5, atol=1e-6)
    (marked,) = left.lines
    assert marked.get_xydata()[marked.get_markevery()].tolist() == [[1, 0], [2, 1], [3, 2]]


@pytest.mark.parametrize("gap_open", [None, torch.tensor([-0.5, -0.7])])
def test_smith_waterman_pair_draws_the_best_parts(axes, gap_open):
    match = torch.full((2, 4, 5), -1.0)
    match[1, 1, 2] = match[1, 2, 3] = 1
    left, right = plot.smith_waterman_pair(match, -0.4, gap_open=gap_open, gamma=0.2, pair=1, axes=axes)
    E = softdp.smith_waterman_alignment(match, -0.4, gap_open=gap_open, gamma=0.2)
    np.testing.assert_allclose(drawn(right), E[1].numpy(), rtol=1e-5, atol=1e-6)
    assert line(left) == line(right) == [[2, 1], [3, 2]]


def test_a_band_is_drawn_around_the_cells_that_count(axes):
    cost = scores(1, 5, 9).abs()
    plot.soft_dtw_pair(cost, gamma=0.2, bandwidth=2, axes=axes)
    for panel in axes:
        path, left, right = panel.lines
        assert path.get_xydata().tolist() == [
            [j, i] for i, j, _ in softdp.soft_dtw_path(cost, bandwidth=2).tolist()[0]
        ]
        for i in range(5):  # cells within 2 steps of 2 i
            edges = [edge.get_xydata()[2 * i].tolist() for edge in (left, right)]
            assert edges == [[max(2 * i - 2, 0) - 0.5, i - 0.5], [min(2 * i + 2, 8) + 0.5, i - 0.5]]
    plot.matrix(cost[0], axes[0])
    plot.band(axes[0], 5, 9, 2, seconds=(0.5, 2), color="red")
    assert axes[0].lines[-2].get_xydata()[-1].tolist() == [12, 2.5] and axes[0].lines[-2].get_color() == "red"


def test_what_is_no_band(axes):
    for arguments, error, message in (
        ((0, 3, 1), ValueError, "n and m must be at least 1, got 0 and 3"),
        ((3, 3, -1), ValueError, "bandwidth must not be negative, got -1"),
        ((3, 3, 1.5), TypeError, "bandwidth must be a whole number"),
    ):
        with pytest.raises(error, match=message):
            plot.band(axes[0], *arguments)


def test_a_pair_without_a_path_is_drawn_without_a_line(axes):
    match = torch.tensor([[[0.0, 1.0], [torch.nan, 0.0]]])
    plot.fsd_pair(match, 0.0, axes=axes)
    assert line(axes[0]) == line(axes[1]) == []


def test_without_axes_a_pyplot_figure_is_opened():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    left, right = plot.fsd_pair(scores(1, 4, 5), 0.0)
    assert left.figure is right.figure and plt.fignum_exists(left.figure.number)
    plt.close(left.figure)
    axes = plot.matrix(scores(4, 5))
    plt.close(axes.figure)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.fsd_pair(scores(1, 4, 5), 0.0, x_lengths=torch.tensor([0]))
    assert not plt.get_fignums()


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        ([[1.0]], {}, TypeError, r"table must be a tensor of shape \(N, M\), got list"),
        (torch.zeros(2, 2, dtype=torch.cfloat), {}, TypeError, "real numbers, got torch.complex64"),
        (torch.zeros(2), {}, ValueError, r"2 dimensions \(N, M\), got shape \(2,\)$"),
        (torch.zeros(1, 2, 2), {}, ValueError, r"got shape \(1, 2, 2\); .* take one pair's: table\[b\]"),
        (torch.zeros(2, 0), {}, ValueError, "nothing to draw: the pair is empty, 2 by 0 steps"),
        (torch.zeros(2, 2), {"x_length": 0}, ValueError, "nothing to draw: the pair is empty, 0 by 2"),
        (torch.zeros(2, 2), {"x_length": 3}, ValueError, r"x_length must lie in \[0, 2\], got 3"),
        (torch.zeros(2, 2), {"y_length": -1}, ValueError, r"y_length must lie in \[0, 2\], got -1"),
        (torch.zeros(2, 2), {"y_length": 1.0}, TypeError, "y_length must be an integer.* got 1.0"),
        (torch.zeros(2, 2), {"x_length": torch.tensor([1, 2])}, TypeError, "x_length must be an integer"),
        (torch.zeros(2, 2), {"seconds": 0}, ValueError, "seconds must be a number above 0.* got 0"),
        (torch.zeros(2, 2), {"seconds": (1, 2, 3)}, ValueError, r"seconds must be .* got \(1, 2, 3\)"),
        (torch.zeros(2, 2), {"seconds": "1"}, ValueError, "seconds must be .* got '1'"),
    ],
)
def test_what_is_no_table(axes, table, options, error, message):
    with pytest.raises(error, match=message):
        plot.matrix(table, axes[0], **options)


@pytest.mark.parametrize(
    ("cells", "options", "error", "message"),
    [
        (torch.zeros(1, 3, 3, dtype=torch.int64), {}, ValueError, r"got shape \(1, 3, 3\)"),
        (
            torch.zeros(3, 4, dtype=torch.int64),
            {},
            ValueError,
            r"cells must have shape .* got shape \(3, 4\)",
        ),
        (torch.zeros(3, 2), {}, TypeError, "cells must be integers, got float32"),
        ([(0.5, 1.0)], {}, TypeError, "cells must be integers, got float64"),
        (
            softdp.fsd_path(torch.zeros(2, 3, 3), 0.0).tolist(),
            {},
            TypeError,
            r"of one pair, as path.tolist\(\)\[0\]",
        ),
        (softdp.fsd_path(torch.zeros(2, 3, 3), 0.0), {"pair": 2}, ValueError, r"pair .* \[0, 2\), got 2"),
        ([(0, 0)], {"seconds": -1}, ValueError, "seconds must be a number above 0"),
    ],
)
def test_what_is_no_path(axes, cells, options, error, message):
    with pytest.raises(error, match=message):
        plot.path(cells, axes[0], **options)


def test_what_is_no_pair(axes):
    with pytest.raises(ValueError, match=r"match must have 3 dimensions \(B, N, M\), got shape \(2, 2\)"):
        plot.fsd_pair(torch.zeros(2, 2), 0.0, axes=axes)
    for draw in (
        lambda pair: plot.fsd_pair(torch.zeros(2, 2, 2), 0.0, pair=pair, axes=axes),
        lambda pair: plot.lcs_pair(torch.zeros(2, 2, 2), threshold=0.5, pair=pair, axes=axes),
    ):
        for pair in (2, -1, None):
            with pytest.raises(ValueError, match=r"pair must be an integer in \[0, 2\), got"):
                draw(pair)


# ---- imports -------------------------------------------------------------------------------------


def test_import_softdp_does_not_load_matplotlib_and_plot_says_how_to_get_it():
    code = """if True:
        import sys, softdp
        assert "matplotlib" not in sys.modules and "plot" not in vars(softdp)  # it is loaded at its first use
        sys.modules["matplotlib"] = None  # as if it were not installed
        try:
            from softdp import plot
        except ImportError as error:
            print(error)
    """
    done = run_python("-c", code)
    assert done.stdout.startswith('softdp.plot needs matplotlib: pip install "softdp[plot]"'), done.stderr


def test_a_pair_needs_two_axes():
    for axes in (Figure().subplots(), Figure().subplots(1, 3)):
        with pytest.raises(ValueError, match="axes must be two axes or None"):
            softdp.plot.soft_dtw_pair(torch.rand(1, 3, 4), gamma=0.5, axes=axes)
