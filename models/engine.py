"""An engine: one vLLM server on one verified checkpoint, and how it is started.

The engine's own facts (address, digest, key file, state) are a file that only its owner may read;
`models.supervisor` keeps the process alive.
"""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from models.documents import Digest, Document, canonical_json, read_document, write_bytes
from models.errors import EngineError
from models.locks import locked
from models.profile import engine_flags, installed_version, serving_flags, template_digest
from models.report import Profile

State = Literal["starting", "ready", "restarting", "stopped"]
MIN_KEY_CHARACTERS = 32
INHERITED = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER"})
INHERITED_PREFIXES = ("CUDA_", "LC_", "NCCL_", "NVIDIA_", "OMP_", "XDG_")
INHERITED_FROM_VLLM = frozenset({"VLLM_CPU_OMP_THREADS_BIND", "VLLM_CACHE_ROOT"})
"""What an engine may take from its launcher's environment. vLLM has switches there that load
adapters at run time, open a door for other weights or run a plug-in's code."""


class EngineFacts(Document):
    """What others may know of a running engine; the key itself is in `api_key_file`."""

    alias: str
    digest: Digest
    url: str
    attest_url: str
    """Where the launcher says what it serves."""
    api_key_file: str
    pid: int
    """Of the supervisor."""
    state: State
    restarts: int


def has_gpu() -> bool:
    """Whether this machine, or container, has a GPU that vLLM computes on."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


@cache
def native_dtype() -> str:
    """Return the type that this machine computes in at full speed.

    A processor without AVX-512 has no bfloat16 arithmetic and emulates it: one forward pass of a
    135M decoder on a Zen 3 took 11.5 s in bfloat16 and 1.0 s in float32.
    """
    if has_gpu():
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
    """Further words for vLLM's own command line, of those that `models.profile` allows."""
    version: str = field(default_factory=installed_version)
    """Of vLLM."""

    @property
    def url(self) -> str:
        """The engine's root address."""
        return f"http://{self.host}:{self.port}"

    def profile(self) -> Profile:
        """Return how this engine runs the weights: what a verdict and a release hold for.

        Raises:
            EngineError: A further word is not allowed, or the checkpoint cannot be read.
        """
        flags = serving_flags(self.extra)
        return Profile(
            engine="vllm",
            engine_version=self.version,
            dtype=self.dtype,
            quantisation=flags.quantisation,
            chat_template=template_digest(self.checkpoint),
            flags=tuple(
                sorted((*flags.words, "--enforce-eager", f"--max-model-len={self.max_model_len}"))
            ),
        )

    def command(self) -> list[str]:
        """Return vLLM's command line; the key is not in it, since anybody can list processes.

        Raises:
            EngineError: A further word is not allowed.
        """
        return [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.checkpoint)),
            *("--served-model-name", self.alias, self.digest),
            *("--host", self.host, "--port", str(self.port)),
            *("--dtype", self.dtype, "--max-model-len", str(self.max_model_len)),
            # Compilation saves little on a small model and costs half a minute at every start.
            "--enforce-eager",
            # Without it the engine refuses a request that comes with its tier's priority.
            *("--scheduling-policy", "priority"),
            "--disable-fastapi-docs",
            # Prompts must not reach a log: neither requests nor the access log's query strings.
            "--disable-uvicorn-access-log",
            "--no-enable-log-requests",
            *engine_flags(self.extra),
        ]

    def environment(self, api_key: str, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the engine's environment: no hub look-ups, no usage reports, its own key.

        Of `inherited` only what is listed here passes.
        """
        passed = {
            name: value
            for name, value in inherited.items()
            if name in INHERITED | INHERITED_FROM_VLLM or name.startswith(INHERITED_PREFIXES)
        }
        return {
            **passed,
            "VLLM_API_KEY": api_key,
            "VLLM_CPU_KVCACHE_SPACE": str(self.kv_cache_gib),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
        }


def engine_name(alias: str) -> str:
    """Return the name of an alias's files, which no other alias's have: `family-label`.

    The last dash separates the two, so a label with dashes of its own is set off by a plus, which
    no name holds: of `a-b:c` it is `a-b-c`, of `a:b-c` it is `a+b-c`.
    """
    family, _, label = alias.partition(":")
    return f"{family}{'+' if '-' in label else '-'}{label}"


def facts_path(home: Path, alias: str) -> Path:
    """Return where an engine's facts are kept."""
    return home / "engines" / f"{engine_name(alias)}.json"


@contextmanager
def sole_engine(home: Path, alias: str) -> Iterator[None]:
    """Be the one engine of an alias under a home: facts, key and loaded files have one place there.

    Raises:
        EngineError: Another one runs.
    """
    with ExitStack() as held:
        try:
            path = facts_path(home, alias)
            held.enter_context(locked(path.with_name(f"{path.name}.lock"), wait=False))
        except BlockingIOError as error:
            raise EngineError(
                f"an engine of {alias} runs under {home} already; stop it, or give this one a home "
                "of its own (--home) with the same store and trust"
            ) from error
        yield


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


def api_key_path(home: Path, alias: str) -> Path:
    """Return where the key that an engine makes for itself is kept."""
    return home / "keys" / f"engine-{engine_name(alias)}.key"


def make_api_key(home: Path, alias: str) -> None:
    """Write a new random key for an engine, which only the owner can read."""
    path = api_key_path(home, alias)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes(path, secrets.token_urlsafe(32).encode(), mode=0o600)


def read_api_key(path: Path) -> str:
    """Return the key in a file.

    Raises:
        EngineError: It cannot be read or sent, or is so short that it could be guessed.
    """
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"the engine's key cannot be read from {path}: {error}") from error
    if len(key) < MIN_KEY_CHARACTERS:
        raise EngineError(f"the key in {path} has fewer than {MIN_KEY_CHARACTERS} characters")
    if not (key.isascii() and key.isprintable()):
        # No header takes it, and what a client says of that may repeat it.
        raise EngineError(f"the key in {path} is no single line of ASCII")
    return key


def thread_count(engines: int) -> int:
    """Return how many threads each of `engines` on this machine should use."""
    return max(1, len(os.sched_getaffinity(0)) // engines)
