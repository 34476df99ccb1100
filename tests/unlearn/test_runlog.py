"""A run's log and curves: whole lines whatever happens, and a picture of what they say."""

import io
import json
from pathlib import Path

import matplotlib.image
import pytest

from models.errors import StoreFullError
from unlearn.curves import draw_curves, publish
from unlearn.runlog import RunLog, read_log
from unlearn.train import StepLog

STEPS = [StepLog(n, "ab"[n % 2], 3.0 / n, 2.0 / n, 0.01 * n, 0.999, 40.0 + n) for n in range(1, 7)]


def write(path, steps):
    with RunLog(path) as log:
        for step in steps:
            log.write(step)


def test_each_step_is_a_line_that_is_there_at_once(tmp_path):
    path = tmp_path / "runs" / "steps.jsonl"
    with RunLog(path) as log:
        log.write(STEPS[0])
        line = json.loads(path.read_text())
    assert line == STEPS[0]._asdict()


def test_a_resumed_run_goes_on_behind_the_last_whole_line(tmp_path):
    path = tmp_path / "steps.jsonl"
    write(path, STEPS[:4])
    with path.open("ab") as stream:
        stream.write(b'{"step": 5, "to')
    assert [step.step for step in read_log(path)] == [1, 2, 3, 4]
    again = STEPS[3]._replace(loss=9.0)
    write(path, [again, *STEPS[4:]])
    steps = read_log(path)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[3].values["loss"] == 9.0
    assert [step.topic for step in steps] == [step.topic for step in STEPS]


def test_a_full_disk_is_said(tmp_path):
    with RunLog(tmp_path / "steps.jsonl") as log:
        log._stream.close()
        log._stream = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        with pytest.raises(StoreFullError, match="no room"):
            log.write(STEPS[0])


def test_the_picture_has_a_panel_for_each_value_and_a_line_for_each_topic(tmp_path):
    path = tmp_path / "steps.jsonl"
    write(path, STEPS)
    picture = matplotlib.image.imread(io.BytesIO(draw_curves(read_log(path), "title")))
    assert picture.shape[0] > picture.shape[1] > 500
    assert len({tuple(pixel) for pixel in picture.reshape(-1, 4)[::7].round(1)}) > 3, "not blank"
    one_topic = draw_curves(read_log(path)[::2], "title")
    assert one_topic != draw_curves(read_log(path), "title")


def test_log_and_curves_go_beside_the_candidate(store, base, tmp_path):
    path = tmp_path / "steps.jsonl"
    write(path, STEPS)
    directory = publish(path, store, base.digest, "title")
    assert directory == store.run_path(base.digest)
    assert {path.name for path in directory.iterdir()} == {"steps.jsonl", "curves.png"}
    assert not path.exists()
    store.verify(base.digest)  # They are not part of it.
