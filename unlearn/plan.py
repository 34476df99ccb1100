"""What a run will do, resolved before anything is loaded, and whether it has been done before."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from models.documents import Digest, digest_of
from models.manifest import CorpusSource, Lineage, Manifest
from models.store import CheckpointStore
from unlearn.baselines.recipe import BaselineConfig, BaselineTopic
from unlearn.config import RunConfig, Topic
from unlearn.corpora import Corpus, read_corpus
from unlearn.errors import RecipeError
from unlearn.provenance import code_commit
from unlearn.tensors import find_trained


class TopicCorpora(NamedTuple):
    """One topic's texts."""

    forget: Corpus
    retain: Corpus


Corpora = dict[tuple[str, int], Corpus]
"""What has been read, by spec and least characters."""


class Plan(NamedTuple):
    """A recipe with its inputs."""

    config: RunConfig | BaselineConfig
    corpora: tuple[TopicCorpora, ...]
    """Of each topic."""
    lineage: Lineage
    """What the candidate's manifest will say; of a baseline all but the tensors that change."""

    @property
    def digest(self) -> Digest:
        """What the run makes: its base, recipe and texts, and nothing of the code or machine."""
        texts = [[corpora.forget.digest, corpora.retain.digest] for corpora in self.corpora]
        return digest_of([self.lineage.base, self.lineage.recipe_digest, texts])


def make_plan(
    config: RunConfig | BaselineConfig,
    base: Digest,
    store: CheckpointStore,
    cache: Path,
    token: str | None = None,
    known: Corpora | None = None,
) -> Plan:
    """Resolve a run.

    Args:
        config: The recipe.
        base: The checkpoint to start from.
        store: Where it is.
        cache: Where data sets of the hub are kept.
        token: The hub's access token, for gated data sets.
        known: Corpora that several plans share: what is in it is not read, what is read is added.

    Raises:
        CorpusError: A corpus cannot be read.
        TensorNotFoundError: The recipe does not fit the base.
    """
    trained: tuple[str, ...] = ()
    if isinstance(config, RunConfig):
        found = find_trained(store.path(base), config.trained_layers, config.trained_tensors)
        trained = tuple(name.full for name in found)
    topics: Sequence[Topic | BaselineTopic] = config.topics
    known = {} if known is None else known

    def read(spec: str, least: int) -> Corpus:
        if (spec, least) not in known:
            known[spec, least] = read_corpus(spec, cache=cache, token=token, min_characters=least)
        return known[spec, least]

    corpora = tuple(
        TopicCorpora(*(read(spec, topic.min_characters) for spec in (topic.forget, topic.retain)))
        for topic in topics
    )
    lineage = Lineage(
        base=base,
        method=config.method,
        recipe=config.as_json(),
        recipe_digest=config.digest,
        corpora={
            f"{topic.domain}.{name}": CorpusSource(
                spec=corpus.spec,
                revision=corpus.revision,
                digest=corpus.digest,
                texts=len(corpus.texts),
                licence=corpus.licence,
            )
            for topic, texts in zip(topics, corpora, strict=True)
            for name, corpus in (("forget", texts.forget), ("retain", texts.retain))
        },
        seed=config.seed,
        steps=config.steps,
        trained_tensors=trained,
        rank=config.rank if isinstance(config, RunConfig) else 0,
        code_commit=code_commit(),
    )
    return Plan(config, corpora, lineage)


def only_base(store: CheckpointStore, family: str) -> str:
    """Return a family's base checkpoint.

    Raises:
        RecipeError: There is none, or several.
    """
    bases = [m.digest for m in store.manifests() if m.is_base and m.family == family]
    if len(bases) != 1:
        problem = "no base of that family; bring one in with `airlock checkpoints import`"
        if bases:
            problem = f"{len(bases)} bases of that family; name one with --base"
        raise RecipeError(family, f"the store has {problem}")
    return bases[0]


def find_done(store: CheckpointStore, plan: Plan) -> Manifest | None:
    """Return the candidate that the same run has made before, or None.

    What a run makes is told by its base, recipe and texts. The code's commit and the environment
    are left out: a rebuilt machine should not unlearn everything again.
    """
    wanted = _identity(plan.lineage)
    for manifest in store.manifests():
        if manifest.lineage is not None and _identity(manifest.lineage) == wanted:
            return manifest
    return None


def _identity(lineage: Lineage) -> tuple[Digest, Digest, dict[str, Digest]]:
    texts = {name: source.digest for name, source in lineage.corpora.items()}
    return lineage.base, lineage.recipe_digest, texts
