"""What the other servers share: the floor's options, a listening socket, an asyncio fan-out."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections.abc import AsyncIterator

from bench.payload import Stamper, cycle

BODY = b"Hello, world!"


def options() -> argparse.Namespace:
    """The options of the floor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--streams", type=int, default=1)
    return parser.parse_args()


def listen() -> socket.socket:
    """A listening loopback socket, its port announced as the floor does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.set_inheritable(True)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    return listener


class Fan:
    """The usual fan-out: a queue for each stream, and one task that puts into all of them.

    Flat out each stream sends the same events again and again, as the floor does: that is
    kinder than a queue.
    """

    def __init__(self, size: int, rate: float, streams: int) -> None:
        self._size, self._rate, self._streams = size, rate, streams
        self._queues: set[asyncio.Queue[str]] = set()
        self._cycle = cycle(size)
        self._everyone = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        self._joined = 0

    async def events(self) -> AsyncIterator[str]:
        """The data of one stream's events."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._queues.add(queue)
        self._joined += 1
        if self._joined >= self._streams:
            self._everyone.set()
            if self._rate and self._publisher is None:
                self._publisher = asyncio.create_task(self._publish())
        try:
            while self._rate:
                yield await queue.get()
            await self._everyone.wait()
            while True:
                for data in self._cycle:
                    yield data
        finally:
            self._queues.discard(queue)

    async def _publish(self) -> None:
        stamper = Stamper(self._size)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += 1 / self._rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            data = stamper.next()
            for queue in self._queues:
                queue.put_nowait(data)
