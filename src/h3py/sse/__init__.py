"""Streams and their writers; no I/O of their own."""

from h3py.sse.stream import Stream, StreamHost, StreamState
from h3py.sse.writer import (
    AsyncSSEWriter,
    SSEWriter,
    StreamContext,
    StreamOperations,
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
