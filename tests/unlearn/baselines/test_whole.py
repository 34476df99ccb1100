"""The whole model is as it is served: what it says of a text is the same each time."""

import json

import torch

from tests.unlearn.conftest import write_checkpoint
from unlearn.baselines.whole import WholeModel


def test_a_model_with_dropout_says_the_same_each_time(tmp_path):
    write_checkpoint(tmp_path)
    path = tmp_path / "config.json"
    config = {**json.loads(path.read_text()), "attention_dropout": 0.9}
    path.write_text(json.dumps(config))
    model, tokens = WholeModel(tmp_path), torch.tensor([[3, 4, 5, 6, 7, 8]])
    assert torch.equal(model.logits(tokens), model.logits(tokens))
    assert torch.equal(model.teacher().logits(tokens), model.logits(tokens))
