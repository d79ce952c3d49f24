"""Learning curves as a picture."""

import io
from collections.abc import Sequence
from typing import Any

from cxr_edge_export.training.run_folder import Row


def draw_curves(name: str, rows: Sequence[Row]) -> bytes:
    """A PNG: losses on the left, figures of the validation images on the right; stages told apart by lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = range(1, len(rows) + 1)
    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    losses, figures = figure.subplots(1, 2)
    losses.plot(epochs, [row.loss for row in rows], label="training, augmented", color="#2a6f97")
    losses.plot(epochs, [row.validation_loss for row in rows], label="validation", color="#c8553d")
    figures.plot(epochs, [row.balanced_accuracy for row in rows], label="balanced accuracy", color="#2a6f97")
    figures.plot(epochs, [row.accuracy for row in rows], label="accuracy", color="#7a9e7e")
    if all(row.auc is not None for row in rows):
        figures.plot(epochs, [row.auc for row in rows], label="AUC", color="#c8553d")
    figures.set_ylim(min(0.5, *(row.balanced_accuracy for row in rows)) - 0.02, 1.01)
    for axes, title in ((losses, "loss"), (figures, "validation images")):
        _dress(axes, title, [n for n in epochs if n > 1 and rows[n - 1].stage != rows[n - 2].stage])
    figure.suptitle(name)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)  # type: ignore[no-untyped-call]
    return stream.getvalue()


def _dress(axes: Any, title: str, starts: Sequence[int]) -> None:  # noqa: ANN401 - matplotlib axes
    for start in starts:
        axes.axvline(start - 0.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlabel("epoch")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend()
