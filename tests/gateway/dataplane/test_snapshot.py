"""The snapshot's age: from it is decided whether anybody may be served a base answer."""

import asyncio
import time

from tests.servers import wait_for


def test_what_was_read_is_as_old_as_the_question_not_as_the_answer(running, monkeypatch):
    """A database that answers late has told what was so before."""
    keeper, asked = running.gateway.keeper, []
    ask = keeper._version.ask

    async def slowly():
        asked.append(time.monotonic())
        answer = await ask()
        await asyncio.sleep(0.5)
        return answer

    monkeypatch.setattr(keeper._version, "ask", slowly)
    wait_for(lambda: len(asked) > 2)
    # The next question comes by some 50 ms after the answer to the one before.
    wait_for(lambda: any(at - 0.01 < keeper._current_at <= at for at in asked))
