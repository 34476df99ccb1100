"""The queue: bounded, by priority, and no place is ever lost."""

import asyncio
import random
import threading

import httpx
import pytest

from gateway.dataplane.admission import Admission
from gateway.errors import OverloadedError
from gateway.settings import Settings
from tests.gateway.conftest import make_settings, run_gateway
from tests.servers import wait_for


def admission(**given) -> Admission:
    return Admission(Settings(**{"engine_max_in_flight": 1, **given}), lambda _: 1)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_researchers_go_first_and_equals_in_order():
    async def main() -> list[str]:
        queue, order = admission(), []
        await queue.enter("d", 1)

        async def one(name: str, priority: int) -> None:
            await queue.enter("d", priority)
            order.append(name)
            queue.leave("d")

        async with asyncio.TaskGroup() as tasks:
            for name, priority in (("batch", 2), ("p1", 1), ("p2", 1), ("researcher", 0)):
                tasks.create_task(one(name, priority))
                await settle()
            assert queue.waiting() == 4
            queue.leave("d")
        return order

    assert asyncio.run(main()) == ["researcher", "p1", "p2", "batch"]


def test_a_full_queue_sends_the_last_of_the_lowest_away():
    async def main() -> dict[str, str]:
        queue, became = admission(queue_limit=2), {}
        await queue.enter("d", 1)

        async def one(name: str, priority: int) -> None:
            try:
                await queue.enter("d", priority)
            except OverloadedError:
                became[name] = "sent away"
            else:
                became[name] = "served"
                queue.leave("d")

        async with asyncio.TaskGroup() as tasks:
            arrivals = (("p1", 1), ("p2", 1), ("p3", 1), ("r1", 0), ("batch", 2))
            for name, priority in arrivals:
                tasks.create_task(one(name, priority))
                await settle()
            queue.leave("d")
        return became

    found = asyncio.run(main())
    assert {name for name, what in found.items() if what == "served"} == {"p1", "r1"}
    assert [name for name, what in found.items() if what == "sent away"] == ["p3", "p2", "batch"]


def test_checkpoints_do_not_wait_for_each_other_and_nothing_waits_for_ever():
    async def main() -> None:
        queue = admission(queue_seconds=0.05)
        await queue.enter("one", 1)
        await queue.enter("another", 1)
        with pytest.raises(OverloadedError):
            await queue.enter("one", 1)
        assert queue.waiting() == 0

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(5))
def test_no_place_is_lost_whoever_leaves_when(seed):
    async def main() -> None:
        chance = random.Random(seed)
        queue = admission(engine_max_in_flight=3, queue_limit=20, queue_seconds=0.02)
        most = running = 0

        async def one() -> None:
            nonlocal most, running
            try:
                await queue.enter("d", chance.randrange(3))
            except OverloadedError:
                return
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(chance.random() * 0.005)
            finally:
                running -= 1
                queue.leave("d")

        tasks = []
        for _ in range(300):
            tasks.append(asyncio.create_task(one()))
            if chance.random() < 0.4:
                chance.choice(tasks).cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.003)
        await asyncio.wait(tasks)
        assert most == 3
        assert queue.waiting() == 0
        assert queue._queues["d"].running == 0

    asyncio.run(main())


def test_who_leaves_in_the_moment_of_being_called_passes_the_place_on():
    async def main() -> None:
        queue = admission()
        await queue.enter("d", 1)
        first, second = (asyncio.create_task(queue.enter("d", 1)) for _ in range(2))
        await settle()
        queue.leave("d")
        first.cancel()
        await asyncio.wait_for(second, 10)
        assert first.cancelled()
        queue.leave("d")
        assert queue._queues["d"].running == queue.waiting() == 0

    asyncio.run(main())


def test_a_busy_gateway_says_so_and_when_to_come_back(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")
    few = {"engine_max_in_flight": 1, "queue_limit": 1}
    with run_gateway(settings, **few) as running:
        running.engines["unlearned"].delay_seconds = 0.3
        answers: list[httpx.Response] = []
        threads = []
        for _ in range(4):
            work = threading.Thread(target=lambda: answers.append(running.chat("public")))
            threads.append(work)
            work.start()
        wait_for(lambda: running.metric("airlock_queued_requests") == 1)
        # The base's queue is another one.
        assert running.chat("researcher").status_code == 200
        for thread in threads:
            thread.join()
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 200, 503, 503]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.json()["error"]["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        assert running.metric("airlock_queued_requests") == 0
