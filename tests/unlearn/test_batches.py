"""How corpora are cut into batches, and which batch is taken when."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from unlearn.batches import Share, cut_corpus, make_batch
from unlearn.errors import TokenizerMismatchError
from unlearn.order import Sizes, draw, order_digest


class Letters:
    """A tokenizer with one token for each character."""

    eos_token_id = 9

    def __len__(self):
        return 128

    def __call__(self, text):
        return {"input_ids": [[ord(letter) - 96 for letter in item] for item in text]}


SHAPE = {"batch_size": 2, "max_tokens": 4}


def test_masked_batches_are_of_texts_of_one_length_padded_on_the_right():
    batches = cut_corpus(["abcdefg", "a", "abc", "", "b"], Letters(), **SHAPE, numerics="masked")
    assert len(batches) == 2
    short, long = batches.batch(0), batches.batch(1)
    assert short.tokens.tolist() == [[1], [2]]
    assert long.tokens.tolist() == [[1, 2, 3, 0], [1, 2, 3, 4]]
    assert long.mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert long.positions == 7
    assert long.attention is None


def test_reference_batches_are_in_file_order_and_count_the_padding_on_the_left():
    batches = cut_corpus(["abcdefg", "a", "abc"], Letters(), **SHAPE, numerics="reference")
    batch = batches.batch(0)
    assert batch.tokens.tolist() == [[1, 2, 3, 4], [9, 9, 9, 1]]
    assert batch.attention is not None
    assert batch.attention.tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]
    assert batch.mask.tolist() == [[1] * 4] * 2
    assert batch.positions == 8
    assert len(batches) == 2


@pytest.mark.parametrize("numerics", ["masked", "reference"])
def test_shares_of_a_batch_add_up_to_it(numerics):
    rows = [[1, 2, 3], [4], [5, 6]]
    whole = make_batch(rows, numerics=numerics)
    for of in (1, 2, 4):
        shares = [make_batch(rows, numerics=numerics, share=Share(n, of)) for n in range(of)]
        assert {share.tokens.shape[1] for share in shares} == {3}
        assert {share.positions for share in shares} == {whole.positions}
        assert sum(float(share.mask.sum()) for share in shares) == whole.positions
        assert all(len(share.tokens) for share in shares), "every process runs every pass"


def test_a_corpus_without_tokens_is_refused():
    with pytest.raises(TokenizerMismatchError):
        cut_corpus([""], Letters(), **SHAPE, numerics="masked")


def test_the_digest_is_of_the_tokens_and_how_they_are_cut():
    def digest(texts, numerics="masked", **shape):
        return cut_corpus(texts, Letters(), **{**SHAPE, **shape}, numerics=numerics).digest

    texts = ["abcdef", "b"]
    digests = [
        digest(texts),
        digest(["abcdef", "c"]),
        digest(texts, "reference"),
        digest(texts, batch_size=1),
        digest(texts, max_tokens=5),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(texts) == digests[0]


SIZES = [Sizes(5, 3, 2), Sizes(4, 7, 1)]


def test_every_batch_is_taken_once_in_each_pass_in_an_order_of_its_own(cut):
    config = replace(cut, seed=3)
    taken = [draw(config, SIZES, step) for step in range(1, 41)]
    assert [item.topic for item in taken] == [0, 1] * 20
    first = [item.forget for item in taken if item.topic == 0]
    passes = [first[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert set(Counter(item.phrase for item in taken if item.topic == 0)) == {0, 1}
    other = [draw(replace(config, seed=4), SIZES, step) for step in range(1, 41)]
    assert other != taken
    assert draw(config, SIZES, 17) == taken[16], "a step's draw needs no other step's"


def test_reference_order_is_the_files(cut):
    config = replace(cut, numerics="reference")
    taken = [draw(config, SIZES, step)[:3] for step in range(1, 7)]
    assert taken == [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1), (0, 2, 2), (1, 2, 2)]


def test_the_order_digest_is_of_seed_steps_and_texts(cut):
    digests = [
        order_digest(cut, SIZES, ["sha256:a"]),
        order_digest(replace(cut, seed=1), SIZES, ["sha256:a"]),
        order_digest(replace(cut, steps=5), SIZES, ["sha256:a"]),
        order_digest(cut, SIZES, ["sha256:b"]),
    ]
    assert len(set(digests)) == 4
    assert digests[0] == order_digest(cut, SIZES, ["sha256:a"])


def test_draws_do_not_touch_the_global_generator(cut):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw(cut, SIZES, 1)
    assert torch.equal(before, torch.get_rng_state())
