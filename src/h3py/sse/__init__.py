"""Streams and their writers; no I/O of their own."""

from h3py.sse.host import StreamHost, StreamState
from h3py.sse.operations import StreamOperations
from h3py.sse.stream import Stream
from h3py.sse.writer import (
    AsyncSSEWriter,
    SSEWriter,
    StreamContext,
    StreamStart,
)

__all__ = [
    "AsyncSSEWriter",
    "SSEWriter",
    "Stream",
    "StreamContext",
    "StreamHost",
    "StreamOperations",
    "StreamStart",
    "StreamState",
]
