"""What waits to be written keeps no gateway from ending."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.contents import keeping as module
from gateway.contents.keeping import Keeping
from gateway.contents.sealing import new_part_key
from gateway.metrics import Metrics
from gateway.settings import Settings
from tests.gateway.contents.test_sealing import HOLDER, KEY, PLACE


class Silent:
    @asynccontextmanager
    async def transaction(self):
        await asyncio.sleep(60)
        yield


async def test_a_silent_database_does_not_keep_the_gateway_from_ending(
    tmp_path: Path, monkeypatch, caplog
):
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.05)
    keeping = Keeping(Settings(home=tmp_path), Silent(), HOLDER.public_key(), Metrics("0"))
    keeping.put(PLACE, new_part_key(), b"Paris", KEY)
    running = asyncio.create_task(keeping.run())
    keeping.stop()
    done, _ = await asyncio.wait({running}, timeout=10)
    assert done == {running}
    assert "contents are lost" in caplog.text
