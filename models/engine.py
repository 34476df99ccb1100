"""An engine: one vLLM server on one verified checkpoint, and how it is started.

The engine's own facts (address, digest, key file, state) are a file that only its owner may read;
`models.supervisor` keeps the process alive.
"""

import contextlib
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from models.documents import (
    Digest,
    Document,
    canonical_json,
    file_sha256,
    read_document,
    write_bytes,
)
from models.errors import EngineError
from models.report import Profile

State = Literal["starting", "ready", "restarting", "stopped"]
MIN_KEY_CHARACTERS = 32


class EngineFacts(Document):
    """What others may know of a running engine; the key itself is in `api_key_file`."""

    alias: str
    digest: Digest
    url: str
    api_key_file: str
    pid: int
    """Of the supervisor."""
    state: State
    restarts: int


@cache
def native_dtype() -> str:
    """Return the type that this machine computes in at full speed.

    A processor without AVX-512 has no bfloat16 arithmetic and emulates it: one forward pass of a
    135M decoder on a Zen 3 took 11.5 s in bfloat16 and 1.0 s in float32.
    """
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return "bfloat16"
    words = Path("/proc/cpuinfo").read_text().split()
    return "bfloat16" if "avx512f" in words else "float32"


@dataclass(frozen=True)
class EngineSpec:
    """What to serve, where, and with which resources."""

    alias: str
    """`family:label`, the name that answers carry."""
    digest: Digest
    """The name that requests carry, so that an engine with other weights refuses them."""
    checkpoint: Path
    host: str = "127.0.0.1"
    port: int = 8100
    dtype: str = field(default_factory=native_dtype)
    """What the weights are computed in; they are stored in bfloat16 and upcast exactly."""
    max_model_len: int = 2048
    """Tokens of prompt and answer together."""
    kv_cache_gib: int = 1
    """Memory for the key-value cache of vLLM's CPU build."""
    extra: tuple[str, ...] = ()
    """Further words for vLLM's own command line."""

    @property
    def url(self) -> str:
        """The engine's root address."""
        return f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        """Return vLLM's command line; the key is not in it, since anybody can list processes."""
        return [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.checkpoint)),
            *("--served-model-name", self.alias, self.digest),
            *("--host", self.host, "--port", str(self.port)),
            *("--dtype", self.dtype, "--max-model-len", str(self.max_model_len)),
            # Compilation saves little on a small model and costs half a minute at every start.
            "--enforce-eager",
            "--disable-fastapi-docs",
            # Prompts must not reach a log: neither requests nor the access log's query strings.
            "--disable-uvicorn-access-log",
            "--no-enable-log-requests",
            *self.extra,
        ]

    def profile(self) -> Profile:
        """Return how the weights are run, for reports and releases to name."""
        template = self.checkpoint / "chat_template.jinja"
        return Profile(
            engine="vllm",
            engine_version=engine_version(),
            dtype=self.dtype,
            chat_template=f"sha256:{file_sha256(template)}" if template.exists() else None,
            flags=tuple(sorted(("--enforce-eager", *self.extra))),
        )

    def environment(self, api_key: str, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the engine's environment: no hub look-ups, no usage reports, its own key."""
        return {
            **inherited,
            "VLLM_API_KEY": api_key,
            "VLLM_CPU_KVCACHE_SPACE": str(self.kv_cache_gib),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
        }


def engine_version() -> str:
    """Return the version of the installed vLLM, whichever build of it.

    Raises:
        EngineError: None is installed.
    """
    for package in ("vllm-cpu", "vllm"):
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    raise EngineError("vLLM is not installed here")


def engine_name(alias: str) -> str:
    """Return the name of an alias's files: `family-label`."""
    return alias.replace(":", "-")


def facts_path(home: Path, alias: str) -> Path:
    """Return where an engine's facts are kept."""
    return home / "engines" / f"{engine_name(alias)}.json"


def read_facts(home: Path, alias: str) -> EngineFacts:
    """Return an engine's facts.

    Raises:
        DocumentError: No engine of that alias was started here.
    """
    return read_document(facts_path(home, alias), EngineFacts)


def write_facts(home: Path, facts: EngineFacts) -> None:
    """Replace an engine's facts; only the owner can read them."""
    write_bytes(
        facts_path(home, facts.alias), canonical_json(facts.model_dump(mode="json")), mode=0o600
    )


def make_api_key(home: Path, alias: str) -> Path:
    """Write a new random key for an engine and return its file, which only the owner can read."""
    path = home / "keys" / f"engine-{engine_name(alias)}.key"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes(path, secrets.token_urlsafe(32).encode(), mode=0o600)
    return path


def read_api_key(path: Path) -> str:
    """Return the key in a file.

    Raises:
        EngineError: It cannot be read, or is so short that it could be guessed.
    """
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"the engine's key cannot be read from {path}: {error}") from error
    if len(key) < MIN_KEY_CHARACTERS:
        raise EngineError(f"the key in {path} has fewer than {MIN_KEY_CHARACTERS} characters")
    return key


def thread_count(engines: int) -> int:
    """Return how many threads each of `engines` on this machine should use."""
    return max(1, len(os.sched_getaffinity(0)) // engines)
