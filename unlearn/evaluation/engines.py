"""The engines of an evaluation: vLLM servers, started on verified bytes, always stopped.

They are started as those that serve are, on this machine's loopback with a random key, but without
prefix caching, and on processors of their own.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from models.documents import Digest
from models.engine import (
    EngineSpec,
    api_key_path,
    engine_name,
    has_gpu,
    read_api_key,
    thread_count,
)
from models.errors import RegistryError
from models.pinned import PinnedCheckpoint
from models.profile import engine_flags
from models.store import CheckpointStore
from models.supervisor import Supervisor
from unlearn.errors import EndpointError, SuiteError
from unlearn.evaluation.endpoint import Cost, Endpoint

START_SECONDS = 300.0
MAX_MODEL_LEN = 8192
NO_PREFIX_CACHING = "--no-enable-prefix-caching"
PREFIX_CACHING = frozenset({"--enable-prefix-caching", NO_PREFIX_CACHING})
BINDING = "VLLM_CPU_OMP_THREADS_BIND"
GPU_SHARE = "--gpu-memory-utilization"


def context_window(checkpoint: Path) -> int:
    """Return how many tokens a checkpoint takes.

    Raises:
        SuiteError: Its configuration does not say.
    """
    config = json.loads((checkpoint / "config.json").read_text())
    # Models of several kinds of input keep it with that of their text part.
    for part in (config, config.get("text_config")):
        if isinstance(part, dict) and isinstance(part.get("max_position_embeddings"), int):
            return int(part["max_position_embeddings"])
    raise SuiteError("engine", f"{checkpoint}/config.json names no max_position_embeddings")


class Engine:
    """One engine under its supervisor, in a thread."""

    def __init__(
        self,
        store: CheckpointStore,
        digest: Digest,
        serving: EngineSpec,
        home: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Start it as `serving` says; it is not ready yet."""
        alias, checkpoint = f"evaluation:{digest[7:19]}", store.path(digest)
        self._spec = replace(
            serving,
            alias=alias,
            digest=digest,
            checkpoint=checkpoint,
            port=_free_port(),
            # Nothing may be cut: as long as the model takes, within what memory there is.
            max_model_len=min(MAX_MODEL_LEN, context_window(checkpoint)),
            extra=_resources(serving.extra),
        )
        files = home / "engines" / f"{engine_name(alias)}.files"
        self.cost = Cost()
        self._state = "starting"
        self._problem = ""
        self._supervisor = Supervisor(
            self._spec,
            home,
            lambda: PinnedCheckpoint(store, store.get(digest), files),
            dict(environment),
            on_state=self._note,
            keeps_key=False,
        )
        self._key = api_key_path(home, alias)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._supervisor.run()
        except RegistryError as error:
            self._problem = str(error)

    def _note(self, state: str, detail: str) -> None:
        self._state, self._problem = state, detail

    def endpoint(self) -> Endpoint:
        """Wait until it is ready and return its address.

        Raises:
            EndpointError: It is not ready in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while self._state != "ready":
            if not self._thread.is_alive() or time.monotonic() > deadline:
                log = self._supervisor.log
                raise EndpointError(self._spec.url, f"{self._problem}; its log is {log}")
            time.sleep(0.1)
        return Endpoint(self._spec.url, self._spec.digest, read_api_key(self._key), cost=self.cost)

    def stop(self) -> None:
        """End it."""
        self._supervisor.stop()
        self._thread.join()


class Engines:
    """The engines of a run: those that were started with it, and others once they are needed."""

    def __init__(
        self,
        store: CheckpointStore,
        serving: EngineSpec,
        home: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Start none yet."""
        self._store = store
        self._serving = serving
        self._home = home
        self._environment = environment
        self._started: dict[Digest, Engine] = {}
        self._lock = threading.Lock()

    def start(self, digests: Sequence[Digest]) -> None:
        """Start an engine for each checkpoint, all at once, on processors of their own."""
        with self._lock:
            shares = _shares(len(digests), self._environment.get(BINDING))
            for digest, share in zip(digests, shares, strict=True):
                environment = {**self._environment, **share}
                self._started[digest] = Engine(
                    self._store, digest, self._serving, self._home, environment
                )

    def __getitem__(self, digest: Digest) -> Engine:
        """Return a checkpoint's engine, which is started when it is not there yet."""
        if digest not in self._started:
            self.start([digest])
        return self._started[digest]

    def costs(self) -> dict[Digest, Cost]:
        """Return what each engine that was started was asked."""
        return {digest: engine.cost for digest, engine in self._started.items()}

    def stop(self) -> None:
        """End them all."""
        for engine in self._started.values():
            engine.stop()


@contextmanager
def engines(
    store: CheckpointStore,
    digests: Sequence[Digest],
    serving: EngineSpec,
    home: Path,
    environment: Mapping[str, str],
) -> Iterator[Engines]:
    """Yield the engines of a run, those of `digests` starting at once, and stop them afterwards.

    Args:
        store: Where the checkpoints are.
        digests: Which of them are asked in any case.
        serving: How they would be served.
        home: Where engines keep their log.
        environment: What they inherit.
    """
    started = Engines(store, serving, home, environment)
    try:
        started.start(digests)
        yield started
    finally:
        started.stop()


def _resources(extra: Sequence[str]) -> tuple[str, ...]:
    """Return an engine's further words: as it would be served, but for what it keeps in memory."""
    kept = [flag for flag in engine_flags(extra) if flag not in PREFIX_CACHING]
    if has_gpu() and not any(flag.startswith(f"{GPU_SHARE}=") for flag in kept):
        # Base and candidate are asked at once, on the same devices, and vLLM takes nine tenths.
        kept.append(f"{GPU_SHARE}=0.45")
    return (*kept, NO_PREFIX_CACHING)


def _shares(count: int, binding: str | None) -> list[dict[str, str]]:
    """Return each engine's processors, as vLLM's CPU build is told them.

    By itself every engine binds to the same processors and leaves one idle. Where `binding` says
    otherwise (`nobind` in containers, which may not bind), it holds, and their number is shared.
    """
    if not count:  # Every answer is known already.
        return []
    cpus = sorted(os.sched_getaffinity(0))
    size = thread_count(count)
    parts = [
        [cpus[(index * size + place) % len(cpus)] for place in range(size)]
        for index in range(count)
    ]
    return [
        {BINDING: binding or ",".join(map(str, part)), "OMP_NUM_THREADS": str(size)}
        for part in parts
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
