"""What a run will do, resolved before anything is loaded, and whether it has been done before."""

from pathlib import Path
from typing import NamedTuple

from models.documents import Digest
from models.manifest import Lineage, Manifest
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
    forget = read_corpus(f"file:{corpora / 'forget.jsonl'}", cache=corpora)
    retain = read_corpus(f"file:{corpora / 'retain.jsonl'}", cache=corpora)
    lineage = Lineage(
        base=base,
        method=config.method,
        recipe=config.as_json(),
        recipe_digest=config.digest,
        corpora={"forget": forget.digest, "retain": retain.digest},
        seed=config.seed,
        steps=config.steps,
        trained_tensors=config.tensor_names,
        code_commit=code_commit(),
    )
    return Plan(config, forget, retain, lineage)


def find_done(store: CheckpointStore, plan: Plan) -> Manifest | None:
    """Return the candidate that the same run has made before, or None.

    The code's commit is left out: what a run makes is told by recipe, corpora and base.
    """
    wanted = plan.lineage.model_dump(exclude={"code_commit"})
    for manifest in store.manifests():
        made = manifest.lineage
        if made is not None and made.model_dump(exclude={"code_commit"}) == wanted:
            return manifest
    return None
