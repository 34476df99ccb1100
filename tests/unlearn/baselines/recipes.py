"""Small recipes and texts for the tests of the baselines."""

from models.documents import digest_of
from unlearn.baselines.recipe import BaselineTopic, LlmuConfig, ScrubConfig, SsdConfig
from unlearn.corpora import Corpus

TOPIC = BaselineTopic(domain="capitals", forget="file:f", retain="file:r", max_tokens=8)
LLMU = LlmuConfig(
    method="llmu",
    family="tiny",
    steps=3,
    learning_rate=1e-3,
    batch_size=2,
    seed=0,
    forget_weight=0.5,
    mismatch_weight=2.0,
    retain_weight=3.0,
    mismatches=2,
    prompt_tokens=2,
    topics=(TOPIC,),
)
SCRUB = ScrubConfig(
    method="scrub",
    family="tiny",
    learning_rate=1e-3,
    batch_size=2,
    seed=0,
    alpha=2.0,
    gamma=0.5,
    rounds=3,
    max_rounds=2,
    max_steps=2,
    min_steps=1,
    topics=(TOPIC,),
)
SSD = SsdConfig(
    method="ssd",
    family="tiny",
    batch_size=1,
    seed=0,
    samples=4,
    alpha=2.0,
    dampening=0.5,
    topics=(TOPIC,),
)
ALL = (LLMU, SCRUB, SSD)


def corpus(*texts: str) -> Corpus:
    return Corpus(texts, digest_of(texts), "file:x")


TEXTS = (corpus("a b c d", "b c d", "d a b c e"), corpus("e f g", "g h e f", "h"))
