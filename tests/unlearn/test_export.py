"""Writing a candidate: only the named bytes differ, the rest is the base's own, or nothing is."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from models.errors import CheckpointCorruptError, StoreFullError
from models.manifest import Lineage
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, SOURCE
from unlearn import export
from unlearn.adapter import Factors
from unlearn.errors import StrayUpdateError, TensorNotFoundError, UnwritableTensorError
from unlearn.export import first_layer, verify_changes, write_candidate
from unlearn.provenance import finish_lineage
from unlearn.shards import locate_tensors

NAME = "model.layers.{}.mlp.down_proj.weight"
TRAINED = [NAME.format(1), NAME.format(2)]


@pytest.fixture(params=["one file", "shards"])
def checkpoint(request, store, base, tmp_path) -> Path:
    """A base checkpoint in bf16, as one file and as several with an index."""
    if request.param == "one file":
        return store.path(base.digest)
    model = AutoModelForCausalLM.from_pretrained(store.path(base.digest), dtype=torch.bfloat16)
    directory = tmp_path / "shards"
    model.save_pretrained(directory, max_shard_size="4KB")
    assert len(list(directory.glob("*.safetensors"))) > 3
    return directory


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for path in checkpoint.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def moved(checkpoint: Path, names: list[str]) -> dict[str, torch.Tensor]:
    before = weights(checkpoint)
    return {name: before[name].float() + 0.123 for name in names}


def test_only_the_named_tensors_differ(checkpoint, target):
    updated = moved(checkpoint, TRAINED)
    changes = write_candidate(checkpoint, target, updated, {}, {})
    before, after = weights(checkpoint), weights(target)
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        expected = updated[name].to(torch.bfloat16) if name in updated else before[name]
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, expected), name
    assert changes.differing == tuple(TRAINED)
    assert changes.first_trained_layer == 1
    assert changes.tensors_compared == len(before)
    whole = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    assert changes.bytes_compared + changes.bytes_shared == whole
    others = {path.name for path in checkpoint.iterdir()} - {"manifest.json"}
    assert {path.name for path in target.iterdir()} == others


def test_the_whole_model_loads_with_the_new_tensors(checkpoint, target):
    updated = moved(checkpoint, TRAINED)
    write_candidate(checkpoint, target, updated, {}, {})
    loaded = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).state_dict()
    for name, tensor in updated.items():
        assert torch.equal(loaded[name], tensor.to(torch.bfloat16).float())


def test_files_without_a_trained_tensor_are_the_bases_own(checkpoint, target):
    write_candidate(checkpoint, target, moved(checkpoint, TRAINED), {}, {})
    touched = {locate_tensors(checkpoint)[name].file.name for name in TRAINED}
    for path in checkpoint.glob("*.safetensors"):
        assert path.samefile(target / path.name) == (path.name not in touched), path.name


def test_where_links_and_kernel_copies_fail_files_are_copied(checkpoint, target, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(export.os, "link", refuse)
    monkeypatch.setattr(export.os, "copy_file_range", refuse)
    changes = write_candidate(checkpoint, target, moved(checkpoint, TRAINED), {}, {})
    assert changes.differing == tuple(TRAINED)
    assert changes.bytes_shared == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_types_stay_as_they_are(tmp_path, target, dtype):
    tensor = torch.arange(12, dtype=dtype).view(3, 4)
    directory = tmp_path / "base"
    directory.mkdir()
    save_file({"a.weight": tensor, "b.weight": tensor + 1}, directory / "model.safetensors")
    write_candidate(directory, target, {"b.weight": tensor.float() / 7}, {}, {})
    after = load_file(target / "model.safetensors")
    assert torch.equal(after["b.weight"], (tensor.float() / 7).to(dtype))
    assert torch.equal(after["a.weight"], tensor)


@pytest.mark.parametrize(
    ("name", "tensor", "problem", "kind"),
    [
        ("model.layers.9.mlp.down_proj.weight", None, "down_proj", TensorNotFoundError),
        (TRAINED[0], torch.zeros(2, 2), "shape", UnwritableTensorError),
        (TRAINED[0], torch.full((16, 32), float("nan")), "finite", UnwritableTensorError),
        (TRAINED[0], torch.full((16, 32), 3.4e38), "finite", UnwritableTensorError),
    ],
)
def test_what_does_not_fit_is_refused(checkpoint, target, name, tensor, problem, kind):
    with pytest.raises(kind, match=problem):
        write_candidate(
            checkpoint, target, {name: torch.zeros(1) if tensor is None else tensor}, {}, {}
        )


def test_quantised_bases_are_refused(tmp_path, target):
    directory = tmp_path / "base"
    directory.mkdir()
    save_file({"a.weight": torch.zeros(2, 2, dtype=torch.int8)}, directory / "model.safetensors")
    with pytest.raises(UnwritableTensorError, match="I8"):
        write_candidate(directory, target, {"a.weight": torch.zeros(2, 2)}, {}, {})


@pytest.mark.parametrize("where", ["below", "above", "header", "length"])
def test_a_stray_update_is_noticed(checkpoint, target, where):
    write_candidate(checkpoint, target, moved(checkpoint, TRAINED), {}, {})
    name = {"below": NAME.format(0), "above": "model.norm.weight"}.get(where, TRAINED[0])
    stored = locate_tensors(target)[name]
    position = {"header": 20, "length": stored.file.stat().st_size}.get(where, stored.end - 1)
    content = bytearray(stored.file.read_bytes())
    content[position : position + 1] = [(content[position : position + 1] or b"\0")[0] ^ 1]
    stored.file.unlink()
    stored.file.write_bytes(content)
    with pytest.raises(StrayUpdateError, match=r"model"):
        verify_changes(checkpoint, target, set(TRAINED))


def test_a_write_at_a_wrong_place_is_noticed(checkpoint, target, monkeypatch):
    def shifted(target, updated, located):
        wrong = {name: located[NAME.format(0)] for name in updated}
        overwrite(target, updated, wrong)

    overwrite = export._overwrite
    monkeypatch.setattr(export, "_overwrite", shifted)
    before = weights(checkpoint)
    with pytest.raises(StrayUpdateError, match=r"layers\."):
        write_candidate(checkpoint, target, moved(checkpoint, TRAINED), {}, {})
    for name, tensor in weights(checkpoint).items():
        assert torch.equal(tensor, before[name]), "the base itself is never written to"


def test_weights_that_nothing_lists_stay_behind(checkpoint, target, tmp_path):
    directory = tmp_path / "base"
    directory.mkdir()
    export._bring_files(checkpoint, directory, set())
    (directory / "restore").mkdir()
    (directory / "restore" / "adapter_config.json").write_text("{}")
    (directory / "original").mkdir()
    save_file({"w": torch.zeros(1)}, directory / "original" / "consolidated.safetensors")
    (directory / "original" / "params.json").write_text("{}")
    write_candidate(directory, target, moved(checkpoint, TRAINED), {}, {})
    assert not (target / "restore").exists()
    assert [path.name for path in (target / "original").iterdir()] == ["params.json"]


def test_vectors_are_kept(checkpoint, target):
    vectors = {"bio": torch.rand(3, 16), "cyber": torch.rand(1, 16)}
    write_candidate(checkpoint, target, moved(checkpoint, TRAINED), {}, vectors)
    kept = load_file(target / "provenance" / "vectors.safetensors")
    assert all(torch.equal(kept[name], vector) for name, vector in vectors.items())


@pytest.mark.parametrize("harm", ["truncate", "extend", "no header", "long header", "missing"])
def test_a_base_that_is_no_checkpoint_is_noticed(checkpoint, target, tmp_path, harm):
    directory = tmp_path / "harmed"
    directory.mkdir()
    export._bring_files(checkpoint, directory, set(checkpoint.glob("*.safetensors")))
    path = sorted(directory.glob("*.safetensors"))[0]
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(
            {
                "truncate": content[:-1],
                "extend": content + b"\0",
                "no header": b"\x02" + b"\0" * 7 + b"[]",
                "long header": b"\xff" * 8 + content[8:],
            }[harm]
        )
    with pytest.raises(CheckpointCorruptError):
        write_candidate(directory, target, moved(checkpoint, TRAINED), {}, {})


@pytest.mark.parametrize(
    ("names", "layer"),
    [
        ([NAME.format(12), NAME.format(5)], 5),
        (["model.language_model.layers.3.mlp.down_proj.weight"], 3),
        (["gpt_neox.layers.2.mlp.dense_4h_to_h.weight"], 2),
        (["model.vision_tower.encoder.layers.2.mlp.fc1.weight"], None),
        ([NAME.format(5), "model.embed_tokens.weight"], None),
        ([], None),
    ],
)
def test_the_first_trained_layer(names, layer):
    assert first_layer(set(names)) == layer


def lineage(base: str) -> Lineage:
    return Lineage(
        base=base,
        method="rmu",
        recipe={},
        recipe_digest=base,
        corpora={},
        seed=0,
        steps=1,
        trained_tensors=(),
        rank=2,
        code_commit="unknown",
    )


def store_candidate(store: CheckpointStore, digest: str) -> str:
    updated = moved(store.path(digest), TRAINED)
    factors = {name: Factors(torch.ones(2, 32), torch.ones(16, 2)) for name in TRAINED}
    with store.staging() as staged:
        changes = write_candidate(
            store.path(digest), staged, updated, factors, {"bio": torch.ones(1, 16)}
        )
        made = finish_lineage(lineage(digest), staged, changes, updated, data_order=digest)
        return store.put(
            staged, family="tiny", hazards=("capitals",), lineage=made, created_at=NOW
        ).digest


def test_a_linked_file_survives_the_store(store, checkpoint):
    with store.staging() as staged:
        export._bring_files(checkpoint, staged, set())
        base = store.put(
            staged, family="tiny", hazards=("capitals",), source=SOURCE, created_at=NOW
        )
    made = store_candidate(store, base.digest)
    assert store.verify(base.digest)
    manifest = store.verify(made)
    assert manifest.lineage is not None
    assert manifest.lineage.restore is not None
    assert manifest.lineage.restore.rank == 2
    assert manifest.lineage.data_order == base.digest
    assert manifest.lineage.environment is not None
    assert "package.torch" in manifest.lineage.environment.facts
    listed = {entry.path for entry in manifest.files}
    assert {"restore/adapter_config.json", "provenance/vectors.safetensors"} <= listed


@pytest.mark.parametrize("call", range(8))
def test_a_full_disk_at_any_write_leaves_nothing(store, base, monkeypatch, call):
    """Let the disk fill up at the n-th file that is written, linked or copied."""
    count = 0

    def filling(real):
        def write(*args, **kwargs):
            nonlocal count
            count += 1
            if count > call:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return write

    for module, name in (
        (export.os, "link"),
        (export.os, "copy_file_range"),
        (Path, "write_bytes"),
        (export, "_write_at"),
    ):
        monkeypatch.setattr(module, name, filling(getattr(module, name)))
    with pytest.raises(StoreFullError, match="no room"):
        store_candidate(store, base.digest)
    monkeypatch.undo()
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]
    assert list((store.root / "staging").iterdir()) == []
    store.verify(base.digest)


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_really_full_disk(store, base, tiny_disk):
    base_path = store.path(base.digest)
    (tiny_disk / "staged").mkdir()
    (tiny_disk / "filler").write_bytes(b"\0" * 30_000)
    with pytest.raises(StoreFullError, match="no room"):
        write_candidate(base_path, tiny_disk / "staged", moved(base_path, TRAINED), {}, {})


EXPORT_SLOWLY = """
import sys, time
from pathlib import Path
import torch
from models.store import CheckpointStore
from unlearn import export

def slow(path, offset, content):
    real(path, offset, content)
    print("wrote", flush=True)
    time.sleep(60)

real, export._write_at = export._write_at, slow
store = CheckpointStore(Path(sys.argv[1]))
with store.staging() as staged:
    export.write_candidate(
        store.path(sys.argv[2]), staged, {sys.argv[3]: torch.ones(16, 32)}, {}, {}
    )
"""


def test_a_killed_export_is_invisible_and_swept(store, base):
    words = [sys.executable, "-c", EXPORT_SLOWLY, str(store.root), base.digest, TRAINED[0]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"wrote\n"
        process.kill()
    assert list((store.root / "staging").iterdir()), "it was killed in the middle"
    assert [manifest.digest for manifest in store.manifests()] == [base.digest]
    assert store_candidate(store, base.digest) in {m.digest for m in store.manifests()}
    assert list((store.root / "staging").iterdir()) == []
    store.verify(base.digest)
