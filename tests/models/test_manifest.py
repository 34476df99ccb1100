"""The manifest: version 1 is still read, and what it binds cannot be taken apart."""

import pytest
from pydantic import ValidationError

from models.documents import digest_of
from models.manifest import Changes, Environment, FileEntry, Lineage, Manifest, digest_below
from tests.models.checkpoints import NOW

DIGEST = "sha256:" + "a" * 64
FILES = (
    FileEntry(path="model.safetensors", sha256="0" * 64, bytes=1),
    FileEntry(path="restore/adapter_config.json", sha256="1" * 64, bytes=2),
    FileEntry(path="restore/adapter_model.safetensors", sha256="2" * 64, bytes=3),
)
LINEAGE = {
    "base": DIGEST,
    "method": "rmu",
    "recipe": {},
    "recipe_digest": DIGEST,
    "corpora": {},
    "seed": 0,
    "steps": 1,
    "trained_tensors": ["w"],
    "code_commit": "unknown",
}


def manifest(files=FILES, **lineage: object) -> Manifest:
    return Manifest(
        family="f",
        hazards=("bio",),
        files=files,
        lineage=Lineage.model_validate({**LINEAGE, **lineage}),
        created_at=NOW,
    )


def test_version_1_is_read():
    old = {
        "schema_version": 1,
        "family": "f",
        "hazards": ["bio"],
        "files": [FILES[0].model_dump()],
        "lineage": {**LINEAGE, "corpora": {"forget": DIGEST}},
        "source": None,
        "created_at": "2026-01-01T00:00:00Z",
    }
    read = Manifest.model_validate(old)
    assert read.lineage is not None
    assert read.lineage.corpora["forget"].digest == DIGEST
    assert read.lineage.changes is None
    assert read.schema_version == 1
    assert manifest().schema_version == 2


def test_the_restore_adapter_is_the_one_among_the_files():
    bound = {"path": "restore", "rank": 2, "digest": digest_below("restore", FILES)}
    made = manifest(rank=2, restore=bound)
    assert made.lineage is not None
    assert made.lineage.restore is not None
    for files in (FILES[:1], FILES[:2], (*FILES[:2], FILES[2].model_copy(update={"bytes": 4}))):
        with pytest.raises(ValidationError, match="restore adapter"):
            manifest(files, rank=2, restore=bound)


def test_an_adapters_digest_does_not_depend_on_the_rest():
    moved = [FILES[0].model_copy(update={"bytes": 9}), *FILES[1:]]
    assert digest_below("restore", moved) == digest_below("restore", FILES)
    assert digest_below("restore", FILES) == digest_of(
        [{**entry.model_dump(), "path": entry.path.removeprefix("restore/")} for entry in FILES[1:]]
    )


def test_no_tensor_differs_that_was_not_trained():
    changes = {"tensors_compared": 2, "bytes_compared": 2, "bytes_shared": 0}
    manifest(changes=Changes(differing=("w",), first_trained_layer=0, **changes))
    with pytest.raises(ValidationError, match="not trained"):
        manifest(changes=Changes(differing=("v",), first_trained_layer=0, **changes))


def test_an_environment_is_of_its_facts():
    facts = {"python": "3.11"}
    assert Environment(digest=digest_of(facts), facts=facts)
    with pytest.raises(ValidationError, match="facts"):
        Environment(digest=digest_of(facts), facts={"python": "3.12"})
