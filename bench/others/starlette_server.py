"""Starlette and sse-starlette on uvicorn with uvloop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bench.others.common import BODY, Fan, listen, options
from bench.payload import cycle, event_data

chosen = options()
fan = Fan(chosen.size, chosen.rate, chosen.streams)


async def plain(request: Request) -> Response:
    return PlainTextResponse(BODY)


async def fan_out(request: Request) -> Response:
    async def events() -> AsyncIterator[ServerSentEvent]:
        async for data in fan.events():
            yield ServerSentEvent(data)

    return EventSourceResponse(events())


async def driven(request: Request) -> Response:
    async def events() -> AsyncIterator[ServerSentEvent]:
        for data in itertools.cycle(cycle(chosen.size)):
            yield ServerSentEvent(data)

    return EventSourceResponse(events())


async def first(request: Request) -> Response:
    async def events() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(event_data(chosen.size, 0))
        await asyncio.Event().wait()

    return EventSourceResponse(events())


async def hold(request: Request) -> Response:
    async def events() -> AsyncIterator[ServerSentEvent]:
        await asyncio.Event().wait()
        yield ServerSentEvent("")

    return EventSourceResponse(events())


routes = {"/plain": plain, "/fan": fan_out, "/driven": driven, "/first": first, "/hold": hold}
app = Starlette(routes=[Route(path, handler) for path, handler in routes.items()])

if __name__ == "__main__":
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listen()])
