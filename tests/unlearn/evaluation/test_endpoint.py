"""Scoring through an engine: the same numbers as in process, for fewer prefills."""

import pytest
from transformers import AutoTokenizer

from tests.unlearn.evaluation.conftest import ITEMS, completions
from unlearn.errors import EndpointError
from unlearn.evaluation.answers import Continuation
from unlearn.evaluation.endpoint import Endpoint, prefills
from unlearn.evaluation.inprocess import in_process


def continuations(tokenizer, prompt: str, choices) -> list[Continuation]:
    context = tokenizer.encode(prompt)
    return [
        Continuation(tuple(context), tuple(tokenizer.encode(f"{prompt} {choice}")[len(context) :]))
        for choice in choices
    ]


@pytest.fixture
def wanted(pair):
    tokenizer = AutoTokenizer.from_pretrained(pair.store.path(pair.base.digest))
    lettered = [
        one
        for item in ITEMS
        for one in continuations(tokenizer, f"{item['question']} Answer :", "ABCD")
    ]
    texts = [
        one for item in ITEMS for one in continuations(tokenizer, item["question"], item["choices"])
    ]
    return lettered, texts


def score(scorer, wanted) -> dict[Continuation, float | None]:
    return {one: value for part in scorer(wanted) for one, value in part}


@pytest.mark.usefixtures("float32")
def test_an_engine_gives_what_the_harness_computes_in_process(pair, serve, wanted):
    path = pair.store.path(pair.base.digest)
    api = serve(completions(path))
    served = score(Endpoint(api.url, "m", "the-key"), [*wanted[0], *wanted[1]])
    local = score(in_process(path), [*wanted[0], *wanted[1]])
    assert set(served) == set(local) == {*wanted[0], *wanted[1]}
    for one in served:
        assert served[one] == pytest.approx(local[one], abs=1e-4)
    assert len({round(value, 3) for value in served.values()}) > len(ITEMS) * 4
    assert api.keys == {"Bearer the-key"}


def test_letters_take_one_prefill_a_question_and_no_echo(pair, serve, wanted):
    api = serve(completions(pair.store.path(pair.base.digest)))
    endpoint = Endpoint(api.url, "m", "k")
    score(endpoint, wanted[0])
    assert (endpoint.cost.prefills, endpoint.cost.continuations) == (len(ITEMS), 4 * len(ITEMS))
    assert all(not body["echo"] for _, body in api.asked)
    texts = prefills(wanted[1])
    # "c" and "g" share one prompt; "a b" and "d e f" take one each.
    assert len(texts) == 3 * len(ITEMS)
    assert [one.is_echoed for one in texts] == sorted(one.is_echoed for one in texts)


def test_no_request_asks_for_more_next_tokens_than_vllm_gives(pair, serve):
    api = serve(completions(pair.store.path(pair.base.digest)))
    crowded = [Continuation((start,), (token,)) for start in range(1, 21) for token in range(1, 21)]
    crowded += [Continuation((9, 9), (token % 20, 1 + token)) for token in range(20)]
    found = score(Endpoint(api.url, "m", "k"), crowded)
    assert None not in found.values()
    for _, body in api.asked:
        assert len(body["logprob_token_ids"]) <= 128
    many = prefills([Continuation((1,), (token,)) for token in range(200)])
    assert [len(prefill.continuations) for prefill in many] == [128, 72]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda logprobs: logprobs | {"top_logprobs": None},
        lambda logprobs: logprobs | {"top_logprobs": [{}]},
        lambda logprobs: logprobs | {"top_logprobs": [dict.fromkeys(logprobs["top_logprobs"][0])]},
        lambda logprobs: (
            logprobs | {"top_logprobs": [dict.fromkeys(logprobs["top_logprobs"][0], -9999.0)]}
        ),
        lambda logprobs: None,
    ],
    ids=["none", "empty", "null", "minus infinity", "no logprobs"],
)
def test_what_does_not_come_back_is_missing(pair, serve, wanted, spoil):
    whole = completions(pair.store.path(pair.base.digest))

    def answer(path, body):
        status, content = whole(path, body)
        for choice in content["choices"]:
            choice["logprobs"] = spoil(choice["logprobs"])
        return status, content

    found = score(Endpoint(serve(answer).url, "m", "k"), wanted[0])
    assert set(found.values()) == {None}


def test_an_echo_that_is_cut_short_is_missing(pair, serve, wanted):
    whole = completions(pair.store.path(pair.base.digest))

    def answer(path, body):
        status, content = whole(path, body)
        for choice in content["choices"]:
            choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][-1:]
        return status, content

    long_ones = [one for one in wanted[1] if len(one.tokens) > 1]
    assert set(score(Endpoint(serve(answer).url, "m", "k"), long_ones).values()) == {None}


def test_an_engine_that_refuses_is_asked_once_and_named(serve, wanted):
    api = serve(lambda path, body: (400, {"error": "too long"}))
    with pytest.raises(EndpointError, match="too long"):
        score(Endpoint(api.url, "m", "k"), wanted[0])
    assert len(api.asked) == 1


def test_an_engine_that_fails_for_a_while_is_asked_again(pair, serve, wanted):
    whole = completions(pair.store.path(pair.base.digest))
    failures = iter([500, 503])

    def answer(path, body):
        status = next(failures, 200)
        return (status, {}) if status != 200 else whole(path, body)

    endpoint = Endpoint(serve(answer).url, "m", "k", pauses_seconds=(0.0, 0.0))
    assert None not in score(endpoint, wanted[0]).values()
    gone = Endpoint("http://127.0.0.1:1", "m", "k", pauses_seconds=(0.0,))
    with pytest.raises(EndpointError, match="refused"):
        score(gone, wanted[0])


def test_another_number_of_answers_is_no_answer(serve, wanted):
    api = serve(lambda path, body: (200, {"choices": []}))
    with pytest.raises(EndpointError, match="another number"):
        score(Endpoint(api.url, "m", "k"), wanted[0])


@pytest.mark.parametrize("key", ["sk-secret\n# of the judge", "sk-secret\r", "sk-s\u00e9cret"])
def test_a_key_that_cannot_be_sent_is_not_repeated(key):
    with pytest.raises(EndpointError) as refused:
        Endpoint("http://127.0.0.1:9", "m", key, pauses_seconds=()).post("/v1/completions", {})
    assert "key" in str(refused.value)
    assert "sk-" not in str(refused.value)
