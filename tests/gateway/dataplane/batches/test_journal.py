"""The journal: whatever is killed when, each line that ended stands in it, and stands once."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.dataplane.batches.journal import Ended, Journal, take_over
from gateway.dataplane.batches.shelf import Seal

SEAL = Seal(b"k" * 32)
BATCH = "batch_1"


def entry(number: int, result: bytes = b"{}") -> Ended:
    return Ended(number, True, ("capitals",), 3, 4, result)


def test_a_new_claim_goes_on_where_the_one_before_was(tmp_path):
    first = take_over(tmp_path, BATCH, 1, SEAL)
    first.append(entry(1))
    first.append(entry(2, b"x" * 100_000))
    second = take_over(tmp_path, BATCH, 2, SEAL)
    first.append(entry(3))  # It does not know yet that it has lost the batch.
    second.append(entry(4))
    second.append(entry(2, b"again"))
    assert [each.number for each in second.read()] == [1, 2, 4]
    assert next(iter(second.read())) == entry(1)
    second.remove()
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_journals_of_other_batches_are_left_alone(tmp_path):
    other = take_over(tmp_path, "batch_11", 1, SEAL)
    other.append(entry(7))
    mine = take_over(tmp_path, BATCH, 2, SEAL)
    assert list(mine.read()) == []
    assert [each.number for each in other.read()] == [7]
    mine.close()
    other.close()


def test_what_was_begun_and_not_finished_counts_for_nothing(tmp_path):
    first = take_over(tmp_path, BATCH, 1, SEAL)
    first.append(entry(1))
    first.close()
    (tmp_path / f"{BATCH}.2.part").write_bytes(b"half of it")
    third = take_over(tmp_path, BATCH, 3, SEAL)
    assert [each.number for each in third.read()] == [1]
    third.close()


def test_contents_are_sealed(tmp_path):
    journal = take_over(tmp_path, BATCH, 1, SEAL)
    journal.append(entry(1, b"a-word-that-nobody-else-says"))
    journal.close()
    assert b"nobody" not in (tmp_path / f"{BATCH}.1").read_bytes()


class Killed(RuleBasedStateMachine):
    """Gateways that write, are killed in the middle of a write, and take over from each other."""

    folder = None

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.folder))
        self.claim = 0
        self.next = 0
        self.ended: list[int] = []
        self.stale: list[Journal] = []
        self.journal = self._take_over()

    def _take_over(self) -> Journal:
        self.claim += 1
        return take_over(self.home, BATCH, self.claim, SEAL)

    @rule(size=st.integers(0, 300))
    def a_line_ends(self, size: int) -> None:
        self.next += 1
        self.journal.append(entry(self.next, b"r" * size))
        self.ended.append(self.next)

    @rule(kept=st.floats(0, 1, exclude_max=True))
    def killed_while_it_writes(self, kept: float) -> None:
        self.next += 1
        before = self.journal._path.stat().st_size
        self.journal.append(entry(self.next, b"half"))
        after = self.journal._path.stat().st_size
        with self.journal._path.open("r+b") as file:
            file.truncate(before + int((after - before) * kept))
        self.journal.close()
        self.journal = self._take_over()

    @rule()
    def loses_its_lease(self) -> None:
        self.stale.append(self.journal)
        self.journal = self._take_over()

    @rule()
    def one_that_was_left_behind_writes(self) -> None:
        if self.stale:
            self.stale[-1].append(entry(self.next + 1, b"from the past"))

    @invariant()
    def each_line_that_ended_is_there_once(self) -> None:
        assert [each.number for each in self.journal.read()] == self.ended

    def teardown(self) -> None:
        for journal in (self.journal, *self.stale):
            journal.close()


@pytest.mark.timeout(120)
def test_whatever_happens(tmp_path):
    machine = type("Here", (Killed,), {"folder": tmp_path})
    some = settings(max_examples=15, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(machine, settings=some)
