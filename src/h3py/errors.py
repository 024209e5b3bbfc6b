"""Every error h3py raises, in one tree.

::

    H3Error
      ConfigError (ValueError)          a bad option, or a handler the backend cannot run
      HTTPError                         raised by a handler to answer with a status
      RequestError                      the client's request was wrong
      H3ConnectionError (ConnectionError)
        ConnectionClosed                the connection was closed, by whichever side
        BufferFull (BufferError)        the write queue has no room now
        NotStreamingMode (RuntimeError) a chunk was written before the stream began
        WriteError                      the kernel refused a write      (also an SSEError)
        AllocationError (MemoryError)   memory ran out                  (also an SSEError)
      SSEError
        ResponseAlreadySent (RuntimeError)
        SSEAlreadyStarted (RuntimeError)
        WriterClosed (RuntimeError)     a write after close()
        WriterBusy (RuntimeError)       a second writer at the same time
        ConnectionLost (ConnectionError)
        BackpressureDetected (BufferError)
        EventTooLarge (ValueError)      above the parser's or the writer's limit
        ManagerClosed (RuntimeError)
        BrokerError                     the broker is away, or refused

Each class also derives from the builtin that a reader of plain Python would
catch. Field values that can never be legal raise plain ``ValueError`` or
``TypeError`` from the constructor that was given them.

This module stands below all others and imports none of them.
"""

from http import HTTPStatus


class H3Error(Exception):
    """Root of everything h3py raises."""


class ConfigError(H3Error, ValueError):
    """The program asks for something that cannot work; raised before serving begins."""


class HTTPError(H3Error):
    """Raised by a handler or middleware to answer with a status.

    Args:
        status: The status code, 400 to 599.
        detail: One line for the client; the status phrase by default.
        headers: Further headers of the answer, such as ``{"retry-after": "5"}``.
    """

    def __init__(
        self, status: int, detail: str | None = None, *, headers: dict[str, str] | None = None
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"HTTPError status must be 400 to 599, not {status}")
        self.status = status
        self.detail = status_phrase(status) if detail is None else detail
        self.headers = dict(headers or {})
        super().__init__(f"{status} {self.detail}")


class RequestError(H3Error):
    """The client's request was wrong; answered with ``status`` and a close.

    Args:
        status: 400, 408, 413, 414, 417, 431, 501 or 505.
        detail: What was wrong, in one line that is safe to send back.
    """

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"{status} {detail}")


class H3ConnectionError(H3Error, ConnectionError):
    """Root of what a connection raises."""


class ConnectionClosed(H3ConnectionError):
    """The connection is closed; nothing more can be written."""


class BufferFull(H3ConnectionError, BufferError):
    """The write queue has no room for this chunk; nothing of it was taken."""


class NotStreamingMode(H3ConnectionError, RuntimeError):
    """A chunk was written to a connection whose stream has not begun."""


class SSEError(H3Error):
    """Root of what a stream or the manager raises."""


class WriteError(H3ConnectionError, SSEError):
    """The kernel refused a write for a reason other than a lost peer."""


class AllocationError(H3ConnectionError, SSEError, MemoryError):
    """Memory ran out; the stream it was for is closed with reason ``limit``."""


class ResponseAlreadySent(SSEError, RuntimeError):
    """The response has been decided already."""


class SSEAlreadyStarted(SSEError, RuntimeError):
    """``start_sse`` was called twice, or a plain response after it."""


class WriterClosed(SSEError, RuntimeError):
    """A write after ``close()``, or after the stream's block was left."""


class WriterBusy(SSEError, RuntimeError):
    """Two writers at once on a stream that one task or thread drives."""


class ConnectionLost(SSEError, ConnectionError):
    """The client has gone; ``reason`` is the stream's close reason."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        self.reason = reason
        super().__init__(message)


class BackpressureDetected(SSEError, BufferError):
    """No room now: in a stream's queue, or in the log. Nothing was taken."""

    stream: object = None
    """The stream whose client is behind; None where it is the log that has no room."""


class EventTooLarge(SSEError, ValueError):
    """An event above the configured limit."""


class ManagerClosed(SSEError, RuntimeError):
    """The manager has been shut down."""


class BrokerError(SSEError):
    """The broker is away, or refused."""


def status_phrase(status: int) -> str:
    """The reason phrase of a status code, or ``"Unknown"`` (RFC 9110 section 15)."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
