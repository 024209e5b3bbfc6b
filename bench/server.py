"""h3py as it is measured: ``python -m bench.server --backend trio --size 100 --rate 0``.

Takes the options of the floor and prints ``{"port": N}`` as it does. Routes:

    /plain         13 bytes
    /first         a stream with one event, which then stays open, parked
    /fan           a manager's stream, of a user and in two channels
    /driven        its handler sends one event after the other
    /events        the same, through ``send_events``, 64 at a time
    /hold          its handler waits
    /progress      what was published, and what a call cost, as JSON

Once ``--streams`` of the manager's streams are there the main thread publishes, to all
of them or to one user after the other (``--to``): ``--rate`` times a second, or as fast
as they are taken (0); or ``--events`` of them at once. The server runs in a thread
beside it. It ends by SIGTERM, or after ``--max-seconds``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from typing import Any

import trio

from bench.board import Board
from bench.payload import cycle, event_data
from h3py import H3, H3Event, SSEEvent, SSEManager, Subscription, running

BODY = "Hello, world!"


def trio_routes(app: H3, board: Board, size: int) -> None:
    """The handlers as an application on trio would have them."""

    @app.get("/plain")
    async def plain(event: H3Event) -> str:
        return BODY

    @app.get("/first")
    async def first(event: H3Event) -> None:
        event.start_sse().send_event_nowait(event_data(size, 0))

    @app.get("/fan")
    async def fan(event: H3Event) -> Subscription:
        return board.subscribe(event)

    @app.get("/driven")
    async def driven(event: H3Event) -> None:
        async with event.start_sse() as stream:
            for data in itertools.cycle(cycle(size)):
                await stream.send_event(data)

    @app.get("/events")
    async def events(event: H3Event) -> None:
        batch = [SSEEvent(data) for data in cycle(size)]
        async with event.start_sse() as stream:
            while True:
                await stream.send_events(batch)

    @app.get("/hold")
    async def hold(event: H3Event) -> None:
        async with event.start_sse():
            await trio.sleep_forever()


def thread_routes(app: H3, board: Board, size: int) -> None:
    """The same on threads."""

    @app.get("/plain")
    def plain(event: H3Event) -> str:
        return BODY

    @app.get("/first")
    def first(event: H3Event) -> None:
        event.start_sse().send_event_nowait(event_data(size, 0))

    @app.get("/fan")
    def fan(event: H3Event) -> Subscription:
        return board.subscribe(event)

    @app.get("/driven")
    def driven(event: H3Event) -> None:
        with event.start_sse() as stream:
            for data in itertools.cycle(cycle(size)):
                stream.send_event(data)

    @app.get("/events")
    def events(event: H3Event) -> None:
        batch = [SSEEvent(data) for data in cycle(size)]
        with event.start_sse() as stream:
            while True:
                stream.send_events(batch)

    @app.get("/hold")
    def hold(event: H3Event) -> None:
        with event.start_sse() as stream:
            stream.wait()


def parse() -> argparse.Namespace:
    """The floor's options, and the backend."""
    parser = argparse.ArgumentParser(prog="python -m bench.server")
    parser.add_argument("--backend", choices=("trio", "threads"), default="trio")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=int, default=100, help="bytes of an event's data")
    parser.add_argument("--rate", type=float, default=0, help="events a second; 0: flat out")
    parser.add_argument("--streams", type=int, default=1, help="begin when so many are there")
    parser.add_argument("--events", type=int, default=0, help="end after so many; 0: never")
    parser.add_argument("--to", choices=("everyone", "users"), default="everyone")
    parser.add_argument("--pumps", type=int, default=1)
    parser.add_argument("--max-seconds", type=float, default=900)
    return parser.parse_args()


def main() -> None:
    """Serve and publish until told to stop."""
    options = parse()
    deadline = time.monotonic() + options.max_seconds
    app = H3()
    manager = SSEManager(pumps=options.pumps)
    board = Board(
        manager, size=options.size, rate=options.rate, streams=options.streams,
        events=options.events, to=options.to,
    )  # fmt: skip
    routes = trio_routes if options.backend == "trio" else thread_routes
    routes(app, board, options.size)

    @app.get("/progress")
    def progress(event: H3Event) -> dict[str, Any]:
        return board.progress()

    with running(
        app, backend=options.backend, port=options.port, max_sync_streams=15_000,
        drain_timeout_s=0.5,
    ) as server:  # fmt: skip
        print(json.dumps({"port": server.addresses[0][1]}), flush=True)
        board.publish_until(deadline)


if __name__ == "__main__":
    main()
