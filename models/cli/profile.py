"""The words that say how an engine runs a checkpoint: what is judged is what is served."""

import argparse
from pathlib import Path

from models.documents import Digest
from models.engine import EngineSpec, native_dtype
from models.profile import installed_version


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Declare them; `served_as` reads them."""
    parser.add_argument(
        "--dtype",
        default=native_dtype(),
        help="of the engine; default: what this machine is fast at (%(default)s)",
    )
    parser.add_argument(
        "--max-model-len", type=int, default=EngineSpec.max_model_len, help="tokens (%(default)s)"
    )
    parser.add_argument(
        "--engine-flag",
        action="append",
        default=[],
        metavar="FLAG",
        help="a further word for vLLM, repeatable: --engine-flag=--max-num-seqs=64",
    )


def served_as(
    args: argparse.Namespace, digest: Digest, checkpoint: Path, version: str | None = None
) -> EngineSpec:
    """Return the engine that the words describe; `version` is vLLM's, by default what is here."""
    return EngineSpec(
        "",
        digest,
        checkpoint,
        dtype=args.dtype,
        max_model_len=args.max_model_len,
        extra=tuple(args.engine_flag),
        version=version or installed_version(),
    )
