"""`airlock engine`: serve a promoted checkpoint with vLLM, supervised, in the foreground."""

import argparse
import os
import signal
from pathlib import Path

from rich.console import Console

from models.cli.promote import alias
from models.engine import EngineSpec, native_dtype, thread_count
from models.errors import EngineError
from models.release import current_releases
from models.store import CheckpointStore
from models.supervisor import Supervisor

EXAMPLES = """\
The checkpoint's bytes are hashed before every start. Ctrl-C stops the engine.

examples:
  airlock engine smollm2:base --port 8101
  airlock engine --port 8102 smollm2:unlearned -- --max-num-seqs 64   # words for vLLM itself
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    defaults = EngineSpec
    parser.epilog = EXAMPLES
    parser.add_argument("alias", type=alias, metavar="FAMILY:LABEL")
    parser.add_argument("--host", default=defaults.host, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=defaults.port, help="default: %(default)s")
    parser.add_argument(
        "--dtype",
        default=native_dtype(),
        help="default: what this machine is fast at (%(default)s)",
    )
    parser.add_argument(
        "--max-model-len", type=int, default=defaults.max_model_len, help="tokens (%(default)s)"
    )
    parser.add_argument(
        "--kv-cache-gib",
        type=int,
        default=defaults.kv_cache_gib,
        help="CPU build only (%(default)s)",
    )
    parser.add_argument(
        "--engines-on-this-machine",
        type=int,
        default=1,
        metavar="N",
        help="share the processors among so many engines (%(default)s)",
    )
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="use this key (default: a new random one under --home)",
    )
    parser.add_argument("extra", nargs="*", metavar="-- WORD", help="further words for vLLM")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    store = CheckpointStore(args.home / "store")
    name = ":".join(args.alias)
    release = next((item for item in current_releases(store) if item.alias == name), None)
    if release is None:
        raise EngineError(f"{name} was never promoted; `airlock promote` it first")
    digest = release.checkpoint
    spec = EngineSpec(
        alias=name,
        digest=digest,
        checkpoint=store.path(digest).resolve(),
        host=args.host,
        port=args.port,
        dtype=args.dtype,
        max_model_len=args.max_model_len,
        kv_cache_gib=args.kv_cache_gib,
        extra=tuple(args.extra),
    )
    threads = str(thread_count(args.engines_on_this_machine))
    console = Console(highlight=False, soft_wrap=True)
    supervisor = Supervisor(
        spec,
        args.home,
        verify=lambda: store.verify(digest),
        environment={"OMP_NUM_THREADS": threads, **os.environ},
        on_state=lambda state, detail: console.print(f"{name} {state}: {detail}"),
        api_key_file=args.api_key_file,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stop())
    supervisor.run()
    return 0
