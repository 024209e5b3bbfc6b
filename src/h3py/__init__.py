"""Server-sent events at the speed of the kernel, on trio or on threads.

The names below are the library. ``h3py.testing`` has what tests of
applications need.
"""

from h3py._speedups.format import SSEEvent, format_comment, format_event
from h3py._speedups.parse import EventParser, ReceivedEvent
from h3py.app import H3, H3Event, StaticFiles, inline
from h3py.app.middleware import CORS, RateLimit
from h3py.backends.server import Server
from h3py.close_reason import CloseReason
from h3py.connection import Connection, ConnectionState, ThreadConnection, TrioConnection
from h3py.errors import (
    AllocationError,
    BackpressureDetected,
    BrokerError,
    BufferFull,
    ConfigError,
    ConnectionClosed,
    ConnectionLost,
    EventTooLarge,
    H3ConnectionError,
    H3Error,
    HTTPError,
    ManagerClosed,
    NotStreamingMode,
    RequestError,
    ResponseAlreadySent,
    SSEAlreadyStarted,
    SSEError,
    WriteError,
    WriterBusy,
    WriterClosed,
)
from h3py.http import Headers, Response
from h3py.manager import (
    ConnectionInfo,
    ManagerOptions,
    MemoryBroker,
    Notifications,
    Principal,
    SSEManager,
    Subscription,
)
from h3py.options import Limits, ServeOptions
from h3py.serving import running, serve, serve_trio
from h3py.sse import AsyncSSEWriter, SSEWriter, StreamContext, StreamStart

__version__ = "0.1.0"

__all__ = [
    "CORS",
    "H3",
    "AllocationError",
    "AsyncSSEWriter",
    "BackpressureDetected",
    "BrokerError",
    "BufferFull",
    "CloseReason",
    "ConfigError",
    "Connection",
    "ConnectionClosed",
    "ConnectionInfo",
    "ConnectionLost",
    "ConnectionState",
    "EventParser",
    "EventTooLarge",
    "H3ConnectionError",
    "H3Error",
    "H3Event",
    "HTTPError",
    "Headers",
    "Limits",
    "ManagerClosed",
    "ManagerOptions",
    "MemoryBroker",
    "NotStreamingMode",
    "Notifications",
    "Principal",
    "RateLimit",
    "ReceivedEvent",
    "RequestError",
    "Response",
    "ResponseAlreadySent",
    "SSEAlreadyStarted",
    "SSEError",
    "SSEEvent",
    "SSEManager",
    "SSEWriter",
    "ServeOptions",
    "Server",
    "StaticFiles",
    "StreamContext",
    "StreamStart",
    "Subscription",
    "ThreadConnection",
    "TrioConnection",
    "WriteError",
    "WriterBusy",
    "WriterClosed",
    "format_comment",
    "format_event",
    "inline",
    "running",
    "serve",
    "serve_trio",
]
