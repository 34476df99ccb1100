"""What a run will do, resolved before anything is loaded, and whether it has been done before."""

from pathlib import Path
from typing import NamedTuple

from models.documents import Digest
from models.manifest import CorpusSource, Lineage, Manifest
from models.store import CheckpointStore
from unlearn.config import RunConfig
from unlearn.corpora import Corpus, read_corpus
from unlearn.provenance import code_commit


class Plan(NamedTuple):
    """A recipe with its inputs."""

    config: RunConfig
    forget: Corpus
    retain: Corpus
    lineage: Lineage
    """What the candidate's manifest will say."""


def make_plan(config: RunConfig, base: Digest, corpora: Path) -> Plan:
    """Resolve a run.

    Args:
        config: The recipe.
        base: The checkpoint to start from.
        corpora: A directory with `forget.jsonl` and `retain.jsonl`.

    Raises:
        CorpusError: A corpus cannot be read.
    """
    forget = read_corpus(corpora / "forget.jsonl")
    retain = read_corpus(corpora / "retain.jsonl")
    lineage = Lineage(
        base=base,
        method=config.method,
        recipe=config.as_json(),
        recipe_digest=config.digest,
        corpora={
            f"{config.domain}.{name}": CorpusSource(
                spec=f"file:{name}.jsonl", digest=corpus.digest, texts=len(corpus.texts)
            )
            for name, corpus in (("forget", forget), ("retain", retain))
        },
        seed=config.seed,
        steps=config.steps,
        trained_tensors=config.tensor_names,
        code_commit=code_commit(),
    )
    return Plan(config, forget, retain, lineage)


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
