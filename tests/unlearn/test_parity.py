"""The engine's loss curve is that of a plain implementation of the same formulas."""

import pytest
import torch

from tests.benchmarks.engine import Job, feeds, take_steps
from tests.benchmarks.plain import PlainModels

TEXTS = (
    *("a b c d e f g h", "b c d", "d a", "e e e e g", "h a b", "c c d e f"),
    *("f a f a", "g", "h h b c", "a d g b e h", "b e h"),
)
CUT = Job(
    method="cut",
    forget=TEXTS[:6],
    retain=TEXTS[6:],
    layer=1,
    trained_layers=(0, 1),
    coefficient=5.0,
    alpha=3.0,
    learning_rate=1e-2,
    batch_size=2,
    max_tokens=7,
    phrases=("a b", "c", "novice"),
)
RMU = CUT._replace(method="rmu", phrases=())
JOBS = {
    "cut": CUT,
    "rmu": RMU,
    "adaptive-rmu": RMU._replace(method="adaptive-rmu", coefficient=3.0),
    "rmu-reference": RMU._replace(numerics="reference"),
    "cut-reference": CUT._replace(numerics="reference"),
}


def plain_losses(job, checkpoint, learning_rate):
    plain = PlainModels(
        checkpoint,
        layer=job.layer,
        trained=job.tensors,
        learning_rate=learning_rate,
        dtype=torch.float32,
        is_published=job.numerics == "reference",
    )
    return [plain.step(feed) for feed in feeds(job, checkpoint)]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_twenty_steps_have_the_losses_of_the_plain_implementation(store, base, job):
    checkpoint = store.path(base.digest)
    engine = [step.loss for step in take_steps(job, checkpoint)]
    assert len(engine) == 20
    assert engine == pytest.approx(plain_losses(job, checkpoint, job.learning_rate), rel=1e-4)
    # What is compared does hang on what is learned, and on how padding is treated.
    still = plain_losses(job, checkpoint, 0.0)
    assert engine[-1] != pytest.approx(still[-1], rel=2e-3)
    assert any(feed.forget.attention.min() == 0 for feed in feeds(job, checkpoint))
