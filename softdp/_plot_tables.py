"""Pictures of one table, and of a path over it: softdp.plot has them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _values, paths
from ._diagonals import inside

try:
    import numpy as np
    from matplotlib import cbook, colormaps, patheffects
    from matplotlib.axes import Axes as Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError(f'softdp.plot needs matplotlib: pip install "softdp[plot]" ({error})') from error

FORBIDDEN, UNKNOWN = "0.75", "red"  # in no colormap used here
SCORES, MASS = "viridis", "magma"

Seconds = float | tuple[float, float]


def matrix(
    table: Tensor,
    axes: Axes | None = None,
    *,
    x_length: int | Tensor | None = None,
    y_length: int | Tensor | None = None,
    seconds: Seconds | None = None,
    label: str = "",
    cmap: str = SCORES,
    vmin: float | None = None,
    vmax: float | None = None,
    values: str | None = None,
) -> Axes:
    """One pair's table as a heat map: scores, an expected alignment, a gradient.

    Shapes: table (N, M), of one pair: `scores[b]`, not a batch.

    x runs down and y to the right; step 0 of both is at the top left. -inf cells (a mask, a band) are grey,
    NaN and +inf red; neither counts for the colours' limits, and the colour bar's label names them where
    they occur. The table fills the axes; `axes.set_aspect("equal")` makes its cells square.

    Args:
        table: numbers of any dtype, on any device; gradients are not changed.
        axes: where to draw; None opens a pyplot figure, which stays open until it is closed.
        x_length, y_length: steps of x and y, integers or tensors of one; the cells past them are cropped.
            None means N and M.
        seconds: how long a step is, one number or a pair for x and y; None counts steps. Step i lasts from
            i to i + 1 times that, and its cell is drawn there.
        label: what the numbers are, beside the colour bar.
        cmap: a matplotlib colormap's name.
        vmin, vmax: the colours' limits; None means the least and the greatest finite number drawn.
        values: format of numbers to write into the cells, such as ".2f"; None writes none.

    Returns:
        The axes; its image is `axes.images[0]`, with its `colorbar`.

    Raises:
        ValueError: a table that is not (N, M) or has no cell left, lengths out of range, seconds not above 0.
        TypeError: a table that is not a tensor of real numbers, lengths that are not integers.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> softdp.plot.matrix(torch.eye(5), axes, x_length=3, seconds=0.5).get_ylabel()
        'x, downwards (s)'
        >>> axes.images[0].get_extent()  # left, right, bottom, top
        [0.0, 2.5, 1.5, 0.0]
    """
    cells = cropped(table, x_length, y_length)
    extent = _extent(cells.shape, seconds)
    axes = new_axes(1)[0] if axes is None else axes
    forbidden, finite = cells == -np.inf, np.isfinite(cells)
    unknown = ~(forbidden | finite)
    low, high = (cells[finite].min(), cells[finite].max()) if finite.any() else (0.0, 1.0)
    drawn = np.ma.masked_where(~finite, cells)
    image = axes.imshow(
        drawn,
        cmap=colormaps[cmap].with_extremes(bad=FORBIDDEN),
        vmin=low if vmin is None else vmin,
        vmax=high if vmax is None else vmax,
        extent=extent,
        aspect="auto",  # square cells would leave a sliver of a long pair
        # A cell is a number, not a sample of a surface. But if the table has more cells than the picture
        # pixels, "nearest" leaves out whole rows.
        interpolation="nearest" if max(cells.shape) <= 256 else "auto",
    )
    if unknown.any():
        over = np.ma.masked_where(~unknown, np.zeros(cells.shape))
        axes.imshow(over, cmap=ListedColormap([UNKNOWN]), extent=extent, aspect="auto")
    told = [("grey: \N{MINUS SIGN}inf", forbidden), ("red: NaN or +inf", unknown)]
    notes = ", ".join(note for note, where in told if where.any())
    axes.figure.colorbar(image, ax=axes, label=f"{label} ({notes})".strip() if notes else label)
    _name_axes(axes, seconds)
    if values is not None:
        _write(axes, image.to_rgba(drawn), cells, values, seconds)
    return axes


def path(
    cells: paths.Path | Tensor | Sequence[Sequence[Any]],
    axes: Axes,
    *,
    pair: int = 0,
    seconds: Seconds | None = None,
    **line: Any,
) -> Axes:
    """A path as a line through the centres of its cells, over a :func:`matrix`.

    Shapes: cells (K, 2) or (K, 3) if a tensor.

    Args:
        cells: a :class:`softdp.Path`; or one pair's cells in order, (i, j) or (i, j, move), counted from 0,
            as a tensor (rows of -1 are left out) or as `softdp.Path.tolist` gives them.
        axes: where the matrix is.
        pair: which pair of a :class:`softdp.Path`.
        seconds: as in :func:`matrix`.
        **line: color, linestyle, marker, label and the like, as matplotlib's `Axes.plot` takes them. The
            line is white with a dark edge unless a color is given: it can be told from any colormap.

    Returns:
        The axes; the line is `axes.lines[-1]`, empty where the pair has no path.

    Raises:
        ValueError: cells of another shape, a pair that is not there, seconds not above 0.
        TypeError: cells that are not integers.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> match = torch.eye(3)[None]
        >>> axes = softdp.plot.matrix(match[0], Figure().subplots())
        >>> best = softdp.fsd_path(match, -1.0, boundary="anchored")
        >>> softdp.plot.path(best, axes).lines[-1].get_xydata().tolist()  # (y, x)
        [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    """
    i, j = _steps(cells, pair).T
    x_step, y_step, half = scale(seconds)
    line = cbook.normalize_kwargs(line, Line2D)  # lw for linewidth and the like
    if "color" not in line:
        edge = patheffects.withStroke(linewidth=line.get("linewidth", 1.5) + 1.5, foreground="0.15")
        line = {"color": "white", "path_effects": [edge], **line}
    axes.plot((j + half) * y_step, (i + half) * x_step, **line)
    return axes


def band(axes: Axes, n: int, m: int, bandwidth: int, *, seconds: Seconds | None = None, **line: Any) -> Axes:
    """The edges of a bandwidth, over a :func:`matrix` of n by m steps: cells between them count.

    Args:
        axes: where the matrix is.
        n, m: the steps of x and of y.
        bandwidth: as in :func:`softdp.fsd_score`.
        seconds: as in :func:`matrix`.
        **line: color, linestyle, label and the like, as matplotlib's `Axes.plot` takes them; dashed and white
            unless given.

    Returns:
        The axes; the lines are `axes.lines[-2:]`, first the left edge, then the right one.

    Raises:
        ValueError: no steps, a bandwidth below 0, seconds not above 0.
        TypeError: a bandwidth that is not a whole number.

    Example:
        >>> import torch, softdp.plot
        >>> from matplotlib.figure import Figure
        >>> axes = softdp.plot.matrix(torch.rand(3, 3), Figure().subplots())
        >>> softdp.plot.band(axes, 3, 3, 0).lines[-2].get_xydata().tolist()  # (y, x)
        [[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, 1.5], [1.5, 1.5], [1.5, 2.5]]
    """
    if n < 1 or m < 1:
        raise ValueError(f"n and m must be at least 1, got {n} and {m}")
    width = _values.bandwidth_number(bandwidth)
    within = inside(torch.tensor([n]), torch.tensor([m]), n, m, width)[0].numpy()
    x_step, y_step, half = scale(seconds)
    start = half - 0.5
    rows = (np.repeat(np.arange(n + 1), 2)[1:-1] + start) * x_step
    line = cbook.normalize_kwargs(line, Line2D)
    line = {"color": "white", "linestyle": "--", "linewidth": 1.0, **line}
    for edge in (within.argmax(1), m - within[:, ::-1].argmax(1)):
        axes.plot((np.repeat(edge, 2) + start) * y_step, rows, **line)
    return axes


# ---- arguments -----------------------------------------------------------------------------------


def cropped(table: Tensor, x_length: int | Tensor | None, y_length: int | Tensor | None) -> np.ndarray:
    """The table within the lengths, in double."""
    if not isinstance(table, Tensor):
        raise TypeError(f"table must be a tensor of shape (N, M), got {type(table).__name__}")
    if table.is_complex():
        raise TypeError(f"table must hold real numbers, got {table.dtype}")
    if table.dim() != 2:
        hint = "; of a batch, take one pair's: table[b]" if table.dim() == 3 else ""
        raise ValueError(f"table must have 2 dimensions (N, M), got shape {tuple(table.shape)}{hint}")
    n = _length(x_length, "x_length", table.shape[0])
    m = _length(y_length, "y_length", table.shape[1])
    if n == 0 or m == 0:
        raise ValueError(f"nothing to draw: the pair is empty, {n} by {m} steps")
    return table[:n, :m].detach().cpu().double().numpy()


def _length(value: int | Tensor | None, name: str, most: int) -> int:
    if value is None:
        return most
    if isinstance(value, Tensor) and value.numel() == 1 and not value.dtype.is_floating_point:
        value = int(value)
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, a tensor of one, or None, got {value!r}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must lie in [0, {most}], got {value}")
    return int(value)


def scale(seconds: Seconds | None) -> tuple[float, float, float]:
    """The length of x's and y's steps, and where the centre of a step is.

    Counted in steps, the centre is the step's own number. Counted in seconds, it is half a step past the
    start.
    """
    if seconds is None:
        return 1, 1, 0
    both = tuple(seconds) if isinstance(seconds, Sequence) else (seconds, seconds)
    if len(both) != 2 or not all(isinstance(s, numbers.Real) and 0 < s < math.inf for s in both):
        raise ValueError(f"seconds must be a number above 0, or a pair of them for x and y, got {seconds!r}")
    return *both, 0.5


def _extent(shape: tuple[int, int], seconds: Seconds | None) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a (n, m) table."""
    x_step, y_step, half = scale(seconds)
    start = half - 0.5
    return start * y_step, (shape[1] + start) * y_step, (shape[0] + start) * x_step, start * x_step


def _steps(cells: paths.Path | Tensor | Sequence[Sequence[Any]], pair: int) -> np.ndarray:
    """(K, 2) int: the path's cells (i, j)."""
    if isinstance(cells, paths.Path):
        check_pair(pair, len(cells.lengths))
        cells = cells.steps[pair, : int(cells.lengths[pair])]
    if isinstance(cells, Tensor):
        found = cells.detach().cpu().numpy()
    else:
        found = np.array([tuple(cell)[:2] for cell in cells]).reshape(-1, 2)
        found = found if found.size else found.astype(int)  # no cells: a path of length 0
    if found.ndim != 2 or found.shape[1] not in (2, 3):
        raise ValueError(f"cells must have shape (K, 2) or (K, 3): i, j, move; got shape {found.shape}")
    if not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"cells must be integers, got {found.dtype}: of one pair, as path.tolist()[0]")
    return found[(found[:, :2] >= 0).all(1), :2]


def check_pair(pair: int, pairs: int) -> None:
    """A pair of a batch."""
    if not isinstance(pair, int | np.integer) or not 0 <= pair < pairs:
        raise ValueError(f"pair must be an integer in [0, {pairs}), got {pair!r}")


# ---- drawing -------------------------------------------------------------------------------------


def new_axes(columns: int) -> Sequence[Axes]:
    """Axes of a new pyplot figure."""
    import matplotlib.pyplot as plt  # only here: it chooses a backend, which a caller with axes does not need

    _, panels = plt.subplots(1, columns, figsize=(5 * columns, 4), layout="constrained", squeeze=False)
    row: Sequence[Axes] = panels[0]
    return row


def _name_axes(axes: Axes, seconds: Seconds | None) -> None:
    unit = "steps" if seconds is None else "s"
    axes.set(ylabel=f"x, downwards ({unit})", xlabel=f"y, rightwards ({unit})")
    if seconds is None:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator("auto", integer=True))


def _write(axes: Axes, colours: np.ndarray, cells: np.ndarray, spec: str, seconds: Seconds | None) -> None:
    """Write the cells' numbers, in black on light cells and in white on dark ones."""
    x_step, y_step, half = scale(seconds)
    for (i, j), value in np.ndenumerate(cells):
        text = format(value, spec).replace("-", "\N{MINUS SIGN}")
        axes.text(
            (j + half) * y_step, (i + half) * x_step, text,
            ha="center", va="center", fontsize=8, color="white" if colours[i, j, :3].sum() < 1.5 else "black",
        )  # fmt: skip
