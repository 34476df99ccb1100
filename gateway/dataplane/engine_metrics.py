"""Hands on what engines say of themselves to Prometheus, which cannot reach them.

Only the gateway reaches an engine. Lines of vLLM's own metrics pass, with the engine's address and
checkpoint as further labels; anything else that an engine says is dropped, so that none can make a
scrape unreadable or speak in the gateway's name.
"""

import asyncio
import re
import time

import aiohttp

from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.pool import Pool
from gateway.dataplane.probe import NETWORK_FAULTS

TIMEOUT = aiohttp.ClientTimeout(total=3)
MAX_BYTES = 4 * 1024 * 1024
KEEP_SECONDS = 1.0
"""Who asks again within that gets the same: however often it is asked, engines are not."""
TYPE = re.compile(r"# TYPE (vllm:[A-Za-z0-9_:]+) (counter|gauge|histogram|summary)")
SAMPLE = re.compile(
    r"(?P<name>vllm:[A-Za-z0-9_:]+)"
    r'(?:\{(?P<labels>(?:[A-Za-z_][A-Za-z0-9_]*="(?:[^"\\]|\\["\\n])*",?)*)\})?'
    r" (?P<value>[-+]?(?:[0-9.]+(?:[eE][-+]?[0-9]+)?|Inf|NaN))"
)
OURS = re.compile(r'(?:^|,)(?:url|checkpoint)="')
Families = dict[str, tuple[str, list[str]]]
"""By the metric's name: its line of type, and its samples."""


class EngineMetrics:
    """Asks every engine."""

    def __init__(self, client: aiohttp.ClientSession, pool: Pool) -> None:
        """Ask `pool`'s engines on `client`'s connections."""
        self._client = client
        self._pool = pool
        self._said = b""
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()  # One asks, whoever comes meanwhile waits for its answer.

    async def render(self) -> bytes:
        """Return the metrics of every engine that answers, in Prometheus's text format."""
        async with self._asking:
            if time.monotonic() >= self._asked_at + KEEP_SECONDS:
                self._said = await self._ask_all()
                self._asked_at = time.monotonic()
            return self._said

    async def _ask_all(self) -> bytes:
        addresses = [replica.address for replica in self._pool.replicas()]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(address)) for address in addresses]
        families: Families = {}
        for address, task in zip(addresses, asked, strict=True):
            take(task.result(), address, families)
        lines = [line for kind, samples in families.values() for line in (kind, *samples)]
        return "".join(f"{line}\n" for line in lines).encode()

    async def _ask(self, address: EngineAddress) -> str:
        try:
            async with self._client.get(
                f"{address.url}/metrics",
                headers={"authorization": f"Bearer {address.api_key}"},
                timeout=TIMEOUT,
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return ""
                raw = await response.content.read(MAX_BYTES)
                while len(raw) < MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
                    raw += more
                return raw[:MAX_BYTES].decode(errors="replace")
        except NETWORK_FAULTS:
            return ""  # Whether it answers is `airlock_engine_up`.


def take(text: str, address: EngineAddress, families: Families) -> None:
    """Add one engine's metrics to `families`.

    Args:
        text: What it said.
        address: Which engine.
        families: What others said.
    """
    labels = f'url="{address.url}",checkpoint="{address.digest}"'
    samples: list[str] | None = None
    for line in text.split("\n"):
        if line.startswith("# TYPE"):
            declared = TYPE.fullmatch(line)
            samples = families.setdefault(declared[1], (line, []))[1] if declared else None
        elif samples is not None and (found := SAMPLE.fullmatch(line)) is not None:
            said = (found["labels"] or "").rstrip(",")
            if not OURS.search(said):
                both = f"{said},{labels}" if said else labels
                samples.append(f"{found['name']}{{{both}}} {found['value']}")
