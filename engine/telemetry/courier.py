"""Delivers events elsewhere, in the background: nothing that happens to a receiver can slow or break a request.

Rules kept here:

- `take` never waits and never raises: an event goes into a backlog of fixed length. When that is full the oldest go, and are
  counted.
- What could not be delivered is tried again after a pause that doubles up to `LONGEST`, with jitter, or as long as the
  receiver asks for. What a receiver refuses for good is dropped and counted: trying again would say the same. What is too much at
  once is halved.
- A failing receiver is told about in the log once, and once when it works again.
- With a `Past`, what is not delivered at the end, or at a crash, is by the next run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from engine.store.event import Event

BACKLOG = 10_000
"""Events that wait at most: about 30 MB, ten minutes of a busy team."""

BATCH = 200
GATHER = 1.0
"""Seconds in which events are gathered into one delivery."""

SHORTEST, LONGEST = 1.0, 60.0
"""Seconds before the first and the last repetition."""

FAREWELL = 3.0
"""Seconds that the end of the gateway waits for a last delivery."""


class Undelivered(Exception):
    """It may work later. `retry_after` is what the receiver asks for, in seconds."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Refused(Exception):
    """It will not work later."""


class TooMuch(Refused):
    """Less of it at once may work."""


class Receiver(Protocol):
    """Where events go."""

    def seen(self, event: Event) -> None:
        """Told of each event once, at once; must not wait."""

    async def deliver(self, events: list[Event]) -> None:
        """Hand over `events`. Raises Undelivered, Refused or TooMuch."""


class Past(Protocol):
    """What became of events in earlier runs. Called in threads, one at a time."""

    def missed(self, most: int) -> list[Event]:
        """Those that were not delivered, the newest `most`, the one that ended first in front."""

    def delivered(self, events: Sequence[Event]) -> None:
        """These are, or never will be."""


class Courier:
    """Carries events to one receiver. `start` it in the event loop, `close` it at the end."""

    def __init__(
        self,
        name: str,
        receiver: Receiver,
        *,
        log: Callable[..., None],
        sleep: Callable[[float], Awaitable[Any]],
        uniform: Callable[[float, float], float],
        past: Past | None = None,
    ) -> None:
        self.name = name
        self.sent = 0
        self.dropped = 0
        """Lost because the backlog was full, or, without a past, at the end."""
        self.refused = 0
        self.failing = False
        self._receiver = receiver
        self._log, self._sleep, self._uniform = log, sleep, uniform
        self._past = past
        self._most = BATCH
        """Events of one delivery; fewer when the receiver has refused so many."""
        self._waiting: deque[Event] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._delivering = asyncio.Lock()
        self._carried: list[Event] = []

    @property
    def backlog(self) -> int:
        """Events that wait or are under way."""
        return len(self._waiting) + len(self._carried)

    def take(self, event: Event) -> None:
        """Deliver `event` some time. Takes a microsecond."""
        self._receiver.seen(event)
        if len(self._waiting) >= BACKLOG:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(event)
        self._some.set()

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Try a last time, for a few seconds; what is left waits for the next run, or is lost and counted."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(FAREWELL):
                # A delivery under way is not cut off: it would be repeated.
                async with self._delivering:
                    task.cancel()
                    while self._gather():
                        await self._attempt()
        except (Undelivered, TimeoutError) as error:
            name = "export_lost" if self._past is None else "export_waits"
            self._log(name, export=self.name, events=self.backlog, reason=str(error) or "no answer in time")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.dropped += self.backlog if self._past is None else 0
        self._waiting.clear()
        self._carried = []

    async def _run(self) -> None:
        pause = SHORTEST
        if self._past is not None:
            await self._recall(self._past)
        while True:
            await self._some.wait()
            if not self.failing:
                await self._sleep(GATHER)
            try:
                async with self._delivering:
                    if not self._gather():
                        self._some.clear()
                        continue
                    await self._attempt()
            except Undelivered as error:
                self._failed(error)
                asked = error.retry_after
                await self._sleep(min(asked, LONGEST) if asked is not None else self._uniform(pause / 2, pause))
                pause = min(pause * 2, LONGEST)
            else:
                pause = SHORTEST

    async def _recall(self, past: Past) -> None:
        """Put what earlier runs did not deliver in front of what waits."""
        try:
            found = await asyncio.to_thread(past.missed, BACKLOG)
        except Exception as error:  # noqa: BLE001  the background task's boundary: what is new can be delivered all the same
            self._log("defect", stage=self.name, kind=type(error).__name__, error=error)
            return
        waiting = {event.id for event in self._waiting}
        older = [event for event in found if event.id not in waiting]
        room = BACKLOG - len(waiting)
        self.dropped += max(len(older) - room, 0)
        self._waiting.extendleft(reversed(older[len(older) - min(room, len(older)) :]))
        if self._waiting:
            self._some.set()

    def _gather(self) -> bool:
        """Take a batch out of the backlog, unless one is still to be delivered; whether there is one."""
        while self._waiting and len(self._carried) < self._most:
            self._carried.append(self._waiting.popleft())
        return bool(self._carried)

    async def _attempt(self) -> None:
        batch = self._carried
        try:
            await self._receiver.deliver(batch)
        except Refused as error:
            if isinstance(error, TooMuch) and len(batch) > 1:
                self._most = len(batch) // 2
                self._waiting.extendleft(reversed(batch[self._most :]))
                self._carried = batch[: self._most]
                return
            self.refused += len(batch)
            self._log("export_refused", export=self.name, events=len(batch), reason=str(error))
        except Undelivered:
            raise
        except Exception as error:  # noqa: BLE001  the background task's boundary: the next batch may be sound
            self.refused += len(batch)
            self._log("defect", stage=self.name, kind=type(error).__name__, error=error)
        else:
            self.sent += len(batch)
            if self.failing:
                self.failing = False
                self._log("export_works_again", export=self.name, lost=self.dropped)
        self._carried = []
        if self._past is not None:
            await asyncio.to_thread(self._past.delivered, batch)

    def _failed(self, error: Undelivered) -> None:
        if not self.failing:
            self.failing = True
            self._log("export_failed", export=self.name, reason=str(error))
