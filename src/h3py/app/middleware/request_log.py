"""One log line a request, with its fields as attributes of the record.

Rules. The line tells what was answered, not how the connection fared: for a
stream it is written when the handler has returned, and the stream's own end is
logged by the stream. The path is logged as it was sent (ASCII, no control
characters, so no line can be forged), the query not at all: it may hold secrets.

Stateless; a plain logger does the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from h3py.app.functions import inline
from h3py.app.response import error_status

if TYPE_CHECKING:
    from h3py.app.event import H3Event
    from h3py.http import Response


def request_log(
    logger: logging.Logger | None = None,
    *,
    level: int = logging.INFO,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[H3Event], Generator[None, Response | None, None]]:
    """Log every request: method, path, status, duration, client.

    Args:
        logger: Where to; ``h3py.access`` by default.
        level: The level of the lines.
        clock: Seconds, monotonic.
    """
    target = logger or logging.getLogger("h3py.access")

    @inline
    def log_request(event: H3Event) -> Generator[None, Response | None, None]:
        began = clock()
        status = 499  # nobody was answered: the request was cancelled
        streams = False
        try:
            response = yield
            streams = response is None
            status = (event.status or 200) if response is None else response.status
        except Exception as error:
            streams = event.sse_started
            status = (event.status or 200) if streams else error_status(error)
            raise
        finally:
            if target.isEnabledFor(level):
                _write(target, level, event, status, streams, (clock() - began) * 1000)

    return log_request


def _write(
    target: logging.Logger,
    level: int,
    event: H3Event,
    status: int,
    streams: bool,
    duration_ms: float,
) -> None:
    client = event.client
    address = client[0] if client else "-"
    path = event.request.path
    target.log(
        level,
        "%s %s %s %d%s %.1f ms",
        address,
        event.method,
        path,
        status,
        " stream" if streams else "",
        duration_ms,
        extra={
            "client": address,
            "method": event.method,
            "path": path,
            "status": status,
            "stream": streams,
            "duration_ms": duration_ms,
        },
    )
