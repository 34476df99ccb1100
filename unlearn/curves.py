"""Curves of a run as a picture: losses, retain cosine and forget norm, for each topic.

When the candidate is in the store, log and curves go to `store/runs/<hex>/`: beside the checkpoint,
outside its digest.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.documents import Digest, write_bytes
from models.store import CheckpointStore
from unlearn.runlog import LOG, LoggedStep, read_log

CURVES = "curves.png"
PANELS = (
    ("loss", "loss: forget + alpha · retain"),
    ("forget", "forget loss"),
    ("retain", "retain loss"),
    ("retain_cosine", "cosine of retained activations with the frozen ones"),
    ("forget_norm", "norm of forgotten activations"),
)
"""A logged value, and its title; those that a run does not log are left out."""
LINEAR = {"retain_cosine"}


def draw_curves(steps: Sequence[LoggedStep], title: str) -> bytes:
    """Return a PNG with a panel for each value and a line in it for each topic.

    Args:
        steps: The run's steps.
        title: Above the panels.
    """
    panels = [panel for panel in PANELS if any(panel[0] in step.values for step in steps)]
    figure = Figure(figsize=(8, 1 + 2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)  # No window and no global state, also without a display.
    figure.suptitle(title)
    for row, (name, heading) in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, row)
        axes.set_title(heading, fontsize="medium", loc="left")
        for topic in sorted({step.topic for step in steps}):
            mine = [step for step in steps if step.topic == topic and name in step.values]
            values = [step.values[name] for step in mine]
            axes.plot([step.step for step in mine], values, ".-", label=topic or None)
        # The first retain loss is exactly 0, which a logarithmic axis cannot show.
        if name not in LINEAR:
            axes.set_yscale("symlog", linthresh=1e-4)
        axes.grid(visible=True, alpha=0.3)
        if row == 1 and any(step.topic for step in steps):
            axes.legend()
        if row == len(panels):
            axes.set_xlabel("step")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def publish(log: Path, store: CheckpointStore, candidate: Digest, title: str) -> Path:
    """Put a finished run's log and curves beside its candidate; return their directory.

    Args:
        log: The run's log; it is moved.
        store: Where the candidate is.
        candidate: Its digest.
        title: Above the curves.

    Raises:
        StoreFullError: No room is left; the candidate itself is stored.
    """
    directory = store.run_path(candidate)
    write_bytes(directory / LOG, log.read_bytes())
    write_bytes(directory / CURVES, draw_curves(read_log(log), title))
    log.unlink()
    return directory
