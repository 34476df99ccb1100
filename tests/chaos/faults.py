"""What is done to each part, and undone again."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from tests.chaos.parts import Engine, Gateway, Part, send
from tests.chaos.wire import State, Wire


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    gateway: int | None = None
    """The gateway that it happens to, if it does; what the others do is what counts then."""
    resets_counts: bool = False
    """Whether counts of tokens begin anew."""


def faults(parts: Mapping[str, Part], wires: Mapping[str, Wire]) -> Iterator[Fault]:
    """Yield every fault of every part, in the order of the parts."""
    for name, part in parts.items():
        yield killed(name, part)
        yield Fault(
            f"{name} stopped",
            partial(send, part, signal.SIGSTOP),
            partial(send, part, signal.SIGCONT),
            gateway(part),
        )
        if isinstance(part, Gateway):
            yield drained(name, part)
        if name in wires:
            states: tuple[tuple[str, State], ...] = (("slow", "slow"), ("cut off", "cut"))
            for what, state in states:
                wire = wires[name]
                yield Fault(f"{name} {what}", partial(wire.set, state), partial(wire.set, "whole"))


def killed(name: str, part: Part) -> Fault:
    """It ends at once, and is started again (by itself, if it has a supervisor)."""
    kill = partial(send, part, signal.SIGKILL)
    counts = isinstance(part, Gateway | Engine)
    return Fault(f"{name} killed", kill, part.start, gateway(part), resets_counts=counts)


def gateway(part: Part) -> int | None:
    """The number of a gateway, from 0 on."""
    return part.number if isinstance(part, Gateway) else None


def drained(name: str, part: Gateway) -> Fault:
    """It is asked to end, as at every update, and started again."""

    def begin() -> None:
        part.processes()[0].terminate()

    def end() -> None:
        while part.is_running():
            time.sleep(0.1)
        part.start()

    return Fault(f"{name} updated", begin, end, gateway(part), resets_counts=True)
