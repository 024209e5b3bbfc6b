"""The life of a request, first half: from the routed request to a response, or to a stream.

`respond` is one plain generator. It yields a step where something of the
application has to run that may block (`Call`) or wait (`Await`), and the backend
that drives it knows how; nothing here knows a backend.

Order. Middleware from the outside in, then ``authorize``, then the handler, then
the middleware's second parts from the inside out. What the handler returned
becomes the response, or is streamed *after* all of that: middleware surrounds
the call of the handler, not the stream that the call leaves behind, so what a
middleware holds open during the call is let go before a generator, a callback
or a parked stream goes on. Only a stream written inside the handler (``with
event.start_sse()``) lies within.

Middleware
    ``def mw(event)`` (or ``async def``): None goes on, any other value is the
    answer, and so is what it has recorded with ``send_*``.
    A generator: what stands before ``yield`` runs before the handler; ``response
    = yield`` is the `Response` (to be changed in place), or None for a stream;
    what follows runs after. Yielding a value instead of nothing answers with it.
    A second ``yield value``, or ``return value`` of a plain generator, replaces
    the response. An exception of what lies within is raised at the ``yield``; a
    middleware that catches it and gives no response has only looked, and the
    exception is answered as it would have been. Ending before ``yield`` goes on.

``authorize``
    Plain, async, a generator with one ``yield`` (also under ``contextmanager`` or
    ``asynccontextmanager``). What it returns or yields is ``event.principal``;
    ``False`` is 403. It has run to its end, clean-up included and in one and the
    same thread, before the handler is called: what it opened is closed before
    any stream begins.

Errors
    Before anything is sent: `HTTPError` and `RequestError` give their status, the
    rest is logged (``h3py.app``) and gives 500. What the failed handler had set
    (status, headers, cookies) is dropped, what middleware had set before stays.
    After a stream has begun: kept in ``event.error`` for `run_stream`.

Cancellation and the like (what is no ``Exception``) passes through: middleware
sees it at its ``yield``, and it goes on its way. Steps yielded after the backend
threw it in are clean-up: a `Call` among them must run although the request is
cancelled.

Everything of the application runs in the request's own context (`h3py.app.context`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Generator
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from h3py.app.authorize import authorize
from h3py.app.context import await_in, call_in, renew, run_async, run_in
from h3py.app.event import H3Event
from h3py.app.functions import Kind, describe, is_stream
from h3py.app.response import PLAIN_VALUES, error_response, to_response
from h3py.app.streaming import run_stream
from h3py.backends.steps import Await, Exchange, Step
from h3py.errors import ConfigError, HTTPError, RequestError, ResponseAlreadySent, SSEAlreadyStarted
from h3py.http import Request, Response

if TYPE_CHECKING:
    from h3py.app.prepared import Chain, Endpoint, Piece, PreparedApp

log = logging.getLogger("h3py.app")


class _Streams(NamedTuple):
    """A handler's value that is streamed: nothing to send as a response."""

    value: Any


_BEGUN: Final = _Streams(None)
"""The handler has begun its stream itself."""

Result = Response | _Streams


class _Opened(NamedTuple):
    """A middleware that waits at its ``yield``."""

    piece: Piece
    generator: Any


def respond(
    app: PreparedApp, request: Request, exchange: Exchange
) -> Generator[Step, Any, Response | None]:
    """The life of one request.

    Args:
        app: The prepared application.
        request: The request, with its body (or its body's stream).
        exchange: The backend's side of it.

    Returns:
        The response, with the body that GET would have even where the method is
        HEAD; None when the request became a stream.
    """
    endpoint, chain, params = app.find(request.method, request.path)
    event = H3Event(request, exchange, params, can_await=app.can_await)
    result: Result
    try:
        if chain:
            result = yield from _through(app, endpoint, chain, event)
        elif endpoint.kind is Kind.COROUTINE and endpoint.authorize is None:
            # The hot path: as `_handle`, without a generator of its own.
            value = yield Await(run_async, (event._context, endpoint.handler, event))
            if event.stream is None and event._response is None and value.__class__ in PLAIN_VALUES:
                return to_response(value, event)
            result = yield from _conclude(value, event)
        elif endpoint.kind is Kind.PLAIN and endpoint.authorize is None:
            value = yield call_in(event, endpoint.handler, event)
            result = yield from _conclude(value, event)
        else:
            result = yield from _handle(endpoint, event)
    except Exception as error:  # noqa: BLE001  # the boundary: answered, or logged and answered
        if event.stream is None:
            return _failed(app, event, endpoint, error)
        event.error = error
        result = _BEGUN
    if isinstance(result, Response):
        return result
    event._done = True
    try:
        yield from run_stream(event, result.value)
    except Exception as error:  # as above, while nothing has been sent
        if event.stream is not None:
            raise
        return _failed(app, event, endpoint, error)
    return None


def _handle(endpoint: Endpoint, event: H3Event) -> Generator[Step, Any, Result]:
    """Authorise the request and call its handler."""
    if endpoint.authorize is not None:
        event.principal = yield from authorize(endpoint.authorize, event)
    kind = endpoint.kind
    if kind is Kind.COROUTINE:
        value = yield await_in(event, endpoint.handler, event)
    elif kind is Kind.PLAIN:
        value = yield call_in(event, endpoint.handler, event)
    else:
        value = run_in(event, endpoint.handler, event)
    return (yield from _conclude(value, event))


def _conclude(value: Any, event: H3Event) -> Generator[Step, Any, Result]:
    """What a handler's value means, with what it has recorded on the event."""
    if value.__class__ not in PLAIN_VALUES and isawaitable(value):
        # A plain function around an async one: `check` cannot see into it.
        value = yield await_in(event, _itself, value)
    if event.subscription is not None and value is not event.subscription:
        raise ConfigError("the handler made a subscription and did not return it")
    if event.stream is not None:
        if value is None or value is event.stream:
            return _BEGUN
        if hasattr(value, "__h3_attach__"):
            return _Streams(value)
        raise SSEAlreadyStarted(
            f"the handler began a stream and returned {describe(type(value))} besides"
        )
    if event._response is not None:
        if value is not None:
            raise ResponseAlreadySent(
                f"the handler sent a response and returned {describe(type(value))} besides"
            )
        return event._response
    if is_stream(value):
        return _Streams(value)
    return to_response(value, event)


def _through(
    app: PreparedApp, endpoint: Endpoint, chain: Chain, event: H3Event
) -> Generator[Step, Any, Result]:
    """Run middleware around the handler."""
    opened: list[_Opened] = []
    result: Result | None = None
    error: Exception | None = None
    try:
        for piece in chain:
            value = yield from _enter(piece, event, opened)
            if value is not None or event._response is not None or event.stream is not None:
                result = yield from _conclude(value, event)
                break
        else:
            headers, status = event._headers, event._status
            try:
                result = yield from _handle(endpoint, event)
            except Exception:
                if event.stream is None:
                    event._headers, event._status = headers, status
                raise
    except Exception as raised:  # noqa: BLE001  # raised again once middleware has seen it
        error = raised
    except BaseException as interruption:
        yield from _interrupt(opened, event, interruption)
        raise
    while opened:
        if error is not None:
            event._response = None
        elif isinstance(result, Response):
            event._response = result
        piece, generator = opened.pop()
        try:
            value = yield from _leave(piece, generator, event, result, error)
            if value is not None:
                result, error = _replace(value, event), None
            elif error is not None and event._response is not None:
                result, error = event._response, None  # recorded with send_* where it caught
        except Exception as raised:  # noqa: BLE001  # for the middleware around this one
            result, error = None, raised
        except BaseException as interruption:
            yield from _interrupt(opened, event, interruption)
            raise
    if error is not None:
        try:
            raise error
        finally:
            del error  # or this frame would hold the exception, and the exception this frame
    assert result is not None, "without an error there is a result"
    return result


def _enter(piece: Piece, event: H3Event, opened: list[_Opened]) -> Generator[Step, Any, Any]:
    """Run a middleware up to its ``yield``, or to its end; gives its answer, or None."""
    function, kind, inline = piece
    if kind is Kind.COROUTINE:
        return (yield await_in(event, function, event))
    if kind is Kind.PLAIN or kind is Kind.INLINE:
        value = (
            run_in(event, function, event) if inline else (yield call_in(event, function, event))
        )
        return (yield await_in(event, _itself, value)) if isawaitable(value) else value
    generator = run_in(event, function, event)  # makes the object; nothing of it runs yet
    if kind is Kind.ASYNC_GENERATOR:
        yielded, value = yield await_in(event, _astart, generator)
    elif inline:
        yielded, value = run_in(event, _start, generator)
    else:
        yielded, value = yield call_in(event, _start, generator)
    if yielded:
        opened.append(_Opened(piece, generator))
    return value


def _leave(
    piece: Piece,
    generator: Any,
    event: H3Event,
    result: Result | None,
    error: BaseException | None,
) -> Generator[Step, Any, Any]:
    """Run a middleware's second part; gives its replacement for the response, or None."""
    response = result if isinstance(result, Response) else None
    # In a list that the receiver empties: steps and frames keep their arguments.
    failure = [] if error is None else [error]
    del error
    if piece.kind is Kind.ASYNC_GENERATOR:
        return (yield await_in(event, _afinish, generator, response, failure))
    if piece.inline:
        return run_in(event, _finish, generator, response, failure)
    return (yield call_in(event, _finish, generator, response, failure))


def _interrupt(
    opened: list[_Opened], event: H3Event, interruption: BaseException
) -> Generator[Step, Any, None]:
    """Let middleware clean up after a cancellation, which then goes on its way."""
    renew(event)
    while opened:
        piece, generator = opened.pop()
        try:
            if not isinstance(interruption, GeneratorExit):
                yield from _leave(piece, generator, event, None, interruption)
            elif piece.kind is not Kind.ASYNC_GENERATOR:
                run_in(event, generator.close)  # nobody drives this any more: no step is left
        except Exception:
            log.exception("middleware %s failed in its clean-up", describe(piece.function))
        except BaseException as raised:  # noqa: BLE001  # the caller raises its own again
            interruption = raised


def _replace(value: Any, event: H3Event) -> Response:
    """A middleware's value in place of the response."""
    if event.stream is not None:
        raise SSEAlreadyStarted("a middleware returned a response, but the stream has begun")
    return to_response(value, event)


def _failed(app: PreparedApp, event: H3Event, endpoint: Endpoint, error: Exception) -> Response:
    """The response to a request that raised."""
    if not isinstance(error, HTTPError | RequestError):
        log.error(
            "%s %s failed in %s",
            event.request.method,
            event.request.path,
            endpoint.name,
            exc_info=error,
            extra={"method": event.request.method, "path": event.request.path},
        )
    try:
        return error_response(error, event, debug=app.debug)
    except (TypeError, ValueError) as wrong:
        log.exception("%s: the error's own headers cannot be sent", endpoint.name)
        return error_response(wrong, event, debug=app.debug)


def _start(generator: Generator[Any, Any, Any]) -> tuple[bool, Any]:
    """Run to the first ``yield``: whether there was one, and the value."""
    try:
        return True, next(generator)
    except StopIteration as done:
        return False, done.value


def _finish(
    generator: Generator[Any, Any, Any], response: Response | None, failure: list[BaseException]
) -> Any:
    """Run from the ``yield`` to the end; gives the value returned, or yielded a second time."""
    try:
        value = generator.throw(failure.pop()) if failure else generator.send(response)
    except StopIteration as done:
        return done.value
    generator.close()
    return _second(value)


async def _astart(generator: AsyncGenerator[Any, Any]) -> tuple[bool, Any]:
    try:
        return True, await anext(generator)
    except StopAsyncIteration:
        return False, None


async def _afinish(
    generator: AsyncGenerator[Any, Any], response: Response | None, failure: list[BaseException]
) -> Any:
    try:
        if failure:
            value = await generator.athrow(failure.pop())
        else:
            value = await generator.asend(response)
    except StopAsyncIteration:
        return None
    await generator.aclose()
    return _second(value)


def _second(value: Any) -> Any:
    if value is None:
        raise RuntimeError("a middleware yielded twice: a second yield must give a response")
    return value


async def _itself(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
