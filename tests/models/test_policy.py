"""Policies: what is unknown or empty is an error."""

import pytest

from models.errors import DocumentError
from models.policy import DEFAULT_POLICY, WMDP_POLICY, Policy
from unlearn.evaluation.capitals import capitals


def test_an_unknown_key_in_a_policy_is_an_error(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text("[control]\nmin_acuracy = 0.5\n")
    with pytest.raises(DocumentError, match="min_ac"):
        Policy.load(path)


@pytest.mark.parametrize("path", [DEFAULT_POLICY, WMDP_POLICY])
def test_a_blocking_policy_names_the_attacks_that_it_needs(path, tmp_path):
    text = path.read_text().replace('mode = "record"', 'mode = "block"')
    changed = tmp_path / "gate.toml"
    changed.write_text(text)
    with pytest.raises(DocumentError, match="needs required attacks"):
        Policy.load(changed)


def test_what_makes_a_run_invalid_cannot_be_listed_as_waivable(tmp_path):
    text = DEFAULT_POLICY.read_text().replace("allowed = []", 'allowed = ["capitals.control"]')
    changed = tmp_path / "gate.toml"
    changed.write_text(text)
    with pytest.raises(DocumentError, match="allowed"):
        Policy.load(changed)


def test_the_default_policy_pins_the_items_of_its_suite():
    found = {task.name: (len(task.items), task.dataset.digest) for task in capitals()}
    pinned = {name: (pin.n, pin.digest) for name, pin in Policy.load().datasets.items()}
    assert pinned == found
