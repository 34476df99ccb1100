"""`airlock engine`: serve a promoted checkpoint with vLLM, supervised, in the foreground."""

import argparse
import os
import signal
from pathlib import Path

from models.cli.numbers import port
from models.cli.promote import alias
from models.cli.terminal import plain_console, printable
from models.engine import EngineSpec, thread_count
from models.keyring import private_directory
from models.launcher import Launcher, Placement
from models.sidecar import SideCar
from models.signing import read_machine_key
from models.store import CheckpointStore
from models.supervisor import Supervisor, Timing

EXAMPLES = """\
Before every start the release is verified (two signatures, version, expiry) and the bytes are
hashed through the descriptors that vLLM then loads. How they are run is the release's: a word that
differs from it is refused. Ctrl-C stops the engine. An alias has one engine under a --home.

examples:
  airlock engine smollm2:base --port 8101
  airlock engine --port 8102 --attest-port 8202 --attest-key engine.pem smollm2:unlearned
  airlock engine smollm2:base -- --gpu-memory-utilization 0.45   # words for vLLM itself
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    defaults = EngineSpec
    parser.epilog = EXAMPLES
    parser.add_argument("alias", type=alias, metavar="FAMILY:LABEL")
    parser.add_argument("--host", default=defaults.host, help="default: %(default)s")
    parser.add_argument("--port", type=port, default=defaults.port, help="default: %(default)s")
    parser.add_argument(
        "--attest-port", type=port, default=0, help="of the side-car (default: any that is free)"
    )
    parser.add_argument(
        "--attest-key",
        type=Path,
        metavar="FILE",
        help="the engine's private key (default: the demonstration's)",
    )
    parser.add_argument("--dtype", help="default: the release's")
    parser.add_argument("--max-model-len", type=int, help="tokens; default: the release's")
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
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=Timing.start_timeout_seconds,
        metavar="SECONDS",
        help="start vLLM anew if it has not loaded the weights by then (%(default).0f)",
    )
    parser.add_argument("extra", nargs="*", metavar="-- WORD", help="further words for vLLM")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    name = ":".join(args.alias)
    key_file = args.attest_key or private_directory(args.home) / "engine.pem"
    launcher = Launcher(
        CheckpointStore(args.home / "store"), args.home, name, read_machine_key(key_file)
    )
    release = launcher.release()
    spec = launcher.spec(
        release,
        Placement(
            host=args.host,
            port=args.port,
            kv_cache_gib=args.kv_cache_gib,
            dtype=args.dtype,
            max_model_len=args.max_model_len,
            extra=tuple(args.extra),
        ),
    )
    threads = str(thread_count(args.engines_on_this_machine))
    console = plain_console()
    with SideCar(
        args.host,
        args.attest_port,
        attest=lambda nonce: launcher.attest(spec, supervisor.running, nonce),
    ) as side_car:
        supervisor = Supervisor(
            spec,
            args.home,
            pin=lambda: launcher.pinned(spec),
            environment={
                "OMP_NUM_THREADS": threads,
                # By itself vLLM's CPU build binds every engine to the same processors.
                **(
                    {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
                    if args.engines_on_this_machine > 1
                    else {}
                ),
                **os.environ,
            },
            timing=Timing(start_timeout_seconds=args.start_timeout),
            on_state=lambda state, detail: console.print(f"{name} {state}: {printable(detail)}"),
            api_key_file=args.api_key_file,
            attest_url=side_car.url,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.stop())
        supervisor.run()
    return 0
