"""``authorize``: who is asking, found out and let go of before the handler is called.

Rules. Whatever form the function has, it runs to its end in one step, so in one
thread or task: a database session it opens is used and closed where it was
opened, and is closed before a stream can begin. Its value is kept, nothing else.

Belongs to the life of one request (`h3py.app.lifecycle`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from h3py.app.context import await_in, call_in, run_in
from h3py.app.event import H3Event
from h3py.app.functions import Kind, describe, is_async_context_manager, is_context_manager
from h3py.backends.steps import Step
from h3py.errors import HTTPError

if TYPE_CHECKING:
    from h3py.app.prepared import Piece

_ONE_YIELD = "authorize {} must yield exactly once"


def authorize(piece: Piece, event: H3Event) -> Generator[Step, Any, Any]:
    """Run a route's ``authorize``; gives the principal.

    Raises:
        HTTPError: Whatever it raised, or 403 when it said ``False``.
    """
    function, kind, inline = piece
    if kind is Kind.ASYNC_GENERATOR:
        principal = yield await_in(event, _run_async_generator, function, event)
    elif kind is Kind.COROUTINE:
        principal = yield await_in(event, function, event)
    else:
        run = _run_generator if kind is Kind.GENERATOR else _run_plain
        if inline:
            principal = run_in(event, run, function, event)
        else:
            principal = yield call_in(event, run, function, event)
        if is_async_context_manager(principal):
            principal = yield await_in(event, _run_async_context, principal)
        elif isawaitable(principal):
            principal = yield await_in(event, _itself, principal)
    if principal is False:
        raise HTTPError(403)
    return principal


def _run_plain(function: Callable[[H3Event], Any], event: H3Event) -> Any:
    value = function(event)
    if is_context_manager(value):
        with value as principal:
            pass
        return principal
    return value


def _run_generator(function: Callable[[H3Event], Any], event: H3Event) -> Any:
    generator = function(event)
    try:
        principal = next(generator)
    except StopIteration:
        raise RuntimeError(_ONE_YIELD.format(describe(function))) from None
    try:
        next(generator)
    except StopIteration:
        return principal
    generator.close()
    raise RuntimeError(_ONE_YIELD.format(describe(function)))


async def _run_async_generator(
    function: Callable[[H3Event], AsyncGenerator[Any, None]], event: H3Event
) -> Any:
    generator = function(event)
    try:
        principal = await anext(generator)
    except StopAsyncIteration:
        raise RuntimeError(_ONE_YIELD.format(describe(function))) from None
    try:
        await anext(generator)
    except StopAsyncIteration:
        return principal
    await generator.aclose()
    raise RuntimeError(_ONE_YIELD.format(describe(function)))


async def _run_async_context(manager: AbstractAsyncContextManager[Any]) -> Any:
    async with manager as principal:
        pass
    return principal


async def _itself(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
