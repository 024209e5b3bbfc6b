"""aiohttp and aiohttp-sse on asyncio with uvloop."""

from __future__ import annotations

import asyncio
import itertools

import uvloop
from aiohttp import web
from aiohttp_sse import sse_response

from bench.others.common import BODY, Fan, listen, options
from bench.payload import cycle, event_data

chosen = options()


async def plain(request: web.Request) -> web.StreamResponse:
    return web.Response(body=BODY)


async def fan_out(request: web.Request) -> web.StreamResponse:
    async with sse_response(request) as response:
        async for data in request.app[FAN].events():
            await response.send(data)
    return response


async def driven(request: web.Request) -> web.StreamResponse:
    async with sse_response(request) as response:
        for data in itertools.cycle(cycle(chosen.size)):
            await response.send(data)
    return response


async def first(request: web.Request) -> web.StreamResponse:
    async with sse_response(request) as response:
        await response.send(event_data(chosen.size, 0))
        await asyncio.Event().wait()
    return response


async def hold(request: web.Request) -> web.StreamResponse:
    async with sse_response(request) as response:
        await asyncio.Event().wait()
    return response


FAN = web.AppKey("fan", Fan)


async def application() -> web.Application:
    app = web.Application()
    app[FAN] = Fan(chosen.size, chosen.rate, chosen.streams)
    routes = {"/plain": plain, "/fan": fan_out, "/driven": driven, "/first": first, "/hold": hold}
    app.add_routes([web.get(path, handler) for path, handler in routes.items()])
    return app


if __name__ == "__main__":
    loop = uvloop.new_event_loop()
    web.run_app(application(), sock=listen(), loop=loop, access_log=None, print=None)
