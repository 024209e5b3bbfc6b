"""The life of a request, second half: what streams once the handler has returned.

By then the middleware around the handler has ended. What is left to run is

- a *generator* handler's generator: its events are sent as it yields them;
- a *callback* (``event.set_stream_callback``): it is given a writer;
- nothing: the stream was begun and left open, so it is parked;
- a *subscription*: the manager attaches the stream and parks it.

A generator's end, or an exception, ends its stream. A callback that returns
without ``close()`` leaves its stream parked; one that raises ends it with
``error``. Whatever fails here is logged and harms nothing but its own stream; a
client that has left is no failure.

Plain generators and callbacks run in one ``Call``, so on trio in one worker
thread, from the first item to the last. Whoever writes becomes the stream's
driver first: a stream may have been begun by another thread. A generator is
always closed, and what it does then is bounded in time where it is awaited;
no cancel scope of ours is open across a ``yield`` of its.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

import trio

from h3py.app.context import await_in, call_in, renew, run_in
from h3py.app.functions import needs_trio
from h3py.backends.steps import Step
from h3py.close_reason import CloseReason
from h3py.errors import SSEError
from h3py.sse import AsyncSSEWriter, SSEWriter, StreamContext
from h3py.sse.blame import is_loss, is_slow

if TYPE_CHECKING:
    from h3py.app.event import H3Event, StreamCallback
    from h3py.sse import StreamStart

_log = logging.getLogger("h3py.stream")


def run_stream(event: H3Event, value: Any) -> Generator[Step, Any, None]:
    """Run what streams.

    Args:
        event: The request; ``event.error`` is what the handler raised after its stream began.
        value: A generator, an async generator or a subscription; None where the handler
            has begun the stream itself.

    Raises:
        HTTPError: The stream could not begin (503); nothing was sent.
    """
    try:
        if isinstance(value, Generator):
            yield call_in(event, _write_generator, event, value)
        elif isinstance(value, AsyncGenerator):
            yield await_in(event, _write_async_generator, event, value)
        elif value is not None:
            run_in(event, value.__h3_attach__, event)
        elif event.error is not None:
            raise event.error
        elif event._stream_callback is not None:
            yield from _run_callback(event, event._stream_callback)
    except Exception as error:
        if event.stream is None:
            raise
        _failed(event, event.stream, error)
    except BaseException:
        # Cancelled, or the server ends: a piece may still hold the request's context.
        renew(event)
        raise
    if event.stream is not None:
        _settle(event.stream)


def _run_callback(event: H3Event, callback: StreamCallback) -> Generator[Step, Any, None]:
    if needs_trio(callback.callback):
        yield await_in(event, _await_callback, event, callback)
    else:
        yield call_in(event, _call_callback, event, callback)


def _call_callback(event: H3Event, callback: StreamCallback) -> None:
    writer = SSEWriter(_driven_here(event)._stream)
    callback.callback(_argument(event, callback, writer))


async def _await_callback(event: H3Event, callback: StreamCallback) -> None:
    writer = AsyncSSEWriter(_driven_here(event)._stream)
    await callback.callback(_argument(event, callback, writer))


def _argument(
    event: H3Event, callback: StreamCallback, writer: SSEWriter | AsyncSSEWriter
) -> SSEWriter | AsyncSSEWriter | StreamContext:
    return StreamContext(writer, event, callback.user_data) if callback.context else writer


def _driven_here(event: H3Event) -> StreamStart:
    start = event.stream
    assert start is not None
    event._exchange.drive_here(start)
    if start.closed:
        # Before anybody could tell this driver: it might wait for ever for what to write.
        raise start._stream.refusal()
    return start


def _write_generator(event: H3Event, generator: Generator[Any, Any, Any]) -> None:
    try:
        with event.start_sse() as writer:
            for item in generator:
                writer.send_event(item)
    finally:
        generator.close()


async def _write_async_generator(event: H3Event, generator: AsyncGenerator[Any, Any]) -> None:
    try:
        async with event.start_sse() as writer:
            async for item in generator:
                await writer.send_event(item)
    finally:
        with trio.CancelScope(shield=True) as clean_up:
            clean_up.deadline = trio.current_time() + event._exchange.cleanup_timeout_s
            await generator.aclose()
        if clean_up.cancelled_caught:
            # Without the query: it may hold a token.
            _log.warning(
                "%s %s: the generator's clean-up took too long",
                event.request.method,
                event.request.path,
            )


def _failed(event: H3Event, start: StreamStart, error: Exception) -> None:
    """End the stream for an error, and log it; a client that has left, or is slow, is none."""
    stream = start._stream
    if is_slow(error, stream):
        stream.finish(CloseReason.SLOW)
        return
    if is_loss(error) and stream.closed:
        return
    _log.error(
        "the stream of %s %s failed",
        event.request.method,
        event.request.path,  # as it was sent: decoded, it could begin a line of its own
        exc_info=error,
        extra={"method": event.request.method, "path": event.request.path},
    )
    stream.finish(CloseReason.ERROR)


def _settle(start: StreamStart) -> None:
    """Nobody drives the stream any more: it is parked, unless it has ended."""
    stream = start._stream
    try:
        if not stream.closed:
            stream.park()
    except SSEError:
        pass  # ended in this very moment: it is let go of below
    stream.finish(CloseReason.HANDLER_DONE)
