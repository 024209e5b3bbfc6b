"""Whose fault an error is.

What a handler raises because its client has left, or is slow, is not its own
failure. A handler's nursery brings such errors in groups, beside others or
alone; only a group of nothing else is no failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h3py.errors import BackpressureDetected, ConnectionLost, WriterClosed

if TYPE_CHECKING:
    from h3py.sse.stream import Stream


def is_loss(error: BaseException) -> bool:
    """Whether an error says only that a stream has ended, alone or in groups of a nursery's."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_loss(part) for part in error.exceptions)
    return isinstance(error, ConnectionLost | WriterClosed)


def is_slow(error: BaseException | None, stream: Stream) -> bool:
    """Whether an error says only that this stream's client is behind, alone or in groups."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_slow(part, stream) for part in error.exceptions)
    return isinstance(error, BackpressureDetected) and error.stream is stream
