"""Plain counters and histograms look to Prometheus as the client library's own."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.plain_metrics import PlainCounter, PlainHistogram

BUCKETS = (0.0001, 0.5, 1, 2.5, 600)
VALUES = st.one_of(st.sampled_from([0.0, *map(float, BUCKETS)]), st.floats(0, 1000, width=16))


def samples(registry: CollectorRegistry) -> set[str]:
    lines = generate_latest(registry).decode().splitlines()
    return {line for line in lines if "_created" not in line}


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\n']), VALUES), max_size=20))
def test_a_histogram_says_what_the_librarys_says(observed):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = PlainHistogram("x_seconds", "X.", ("l", "m"), BUCKETS, ours)
    other = Histogram("x_seconds", "X.", ("l", "m"), buckets=BUCKETS, registry=theirs)
    for label, value in observed:
        plain.labels(label, "m").observe(value)
        other.labels(label, "m").observe(value)
    assert samples(ours) == samples(theirs)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 1000)), max_size=20))
def test_a_counter_says_what_the_librarys_says(counted):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = PlainCounter("x", "X.", ("l",), ours)
    other = Counter("x", "X.", ("l",), registry=theirs)
    for label, amount in counted:
        plain.labels(label).inc(amount)
        other.labels(label).inc(amount)
    assert samples(ours) == samples(theirs)
