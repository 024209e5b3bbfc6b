"""`H3Event`: one request and its answer, as the application sees them.

Rules. The event is made for each request, so it costs little: what a handler
does not ask for (query, cookies, url, the ``context`` dict) is not computed. The
answer is decided once. Until then ``set_status``, ``set_header`` and
``set_cookie`` collect what will leave with it; then either a response is
decided (``send_*``, or the handler's return value), or a stream has begun
(``start_sse``), and the other raises.

States: open -> responded | streaming. ``response_sent`` and ``sse_started`` tell.

Owner: the life of the request (`h3py.app.lifecycle`); whatever piece of the
application runs at the moment uses it, in one thread at a time. It reaches the
backend through its exchange only. It ends with the handler, or with the stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from datetime import datetime
from operator import index
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from h3py.app import cookies
from h3py.app.functions import needs_trio
from h3py.app.multimap import MultiMap
from h3py.app.request_view import RequestView
from h3py.app.response import (
    BINARY,
    CONTENT_TYPE,
    HTML,
    JSON,
    TEXT,
    build_response,
    checked_field,
    error_response,
    json_body,
    to_response,
)
from h3py.backends.steps import Exchange
from h3py.errors import (
    ConfigError,
    HTTPError,
    NotStreamingMode,
    ResponseAlreadySent,
    SSEAlreadyStarted,
)
from h3py.http import Request, Response

if TYPE_CHECKING:
    from h3py.app.functions import Attachable
    from h3py.sse import StreamStart
    from h3py.sse.host import StreamHome

NO_PARAMS: Mapping[str, str] = MultiMap()

REDIRECTS = (301, 302, 303, 307, 308)
# What a Location may hold besides letters and digits (RFC 3986); "%" keeps escapes.
_LOCATION_SAFE = "%/:=&?~#+!$,;'@()*[]-._"


class StreamCallback:
    """What `H3Event.set_stream_callback` was given."""

    __slots__ = ("callback", "context", "user_data")

    def __init__(self, callback: Callable[..., Any], context: bool, user_data: Any) -> None:
        self.callback = callback
        self.context = context
        self.user_data = user_data


class H3Event(RequestView):
    """A request and its answer.

    Attributes:
        request: The request as it was parsed.
        params: What the path gave to the pattern's ``:name`` and ``**``.
        principal: What the route's ``authorize`` returned; None without one.
        stream: The stream, once `start_sse` has begun it.
        error: What the handler raised after its stream had begun.
        subscription: What a manager's ``subscribe`` made of this event, for the handler to
            return.
    """

    __slots__ = (
        "_can_await", "_context", "_done", "_headers", "_response", "_status", "_stream_callback",
        "error", "principal", "stream", "subscription",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        exchange: Exchange,
        params: Mapping[str, str] = NO_PARAMS,
        *,
        can_await: bool = True,
    ) -> None:
        super().__init__(request, exchange, params)
        self.principal: Any = None
        self.stream: StreamStart | None = None
        self.error: Exception | None = None
        self.subscription: Attachable | None = None
        self._can_await = can_await
        self._context: Context = copy_context()
        self._status: int | None = None
        self._headers: list[tuple[str, str]] | None = None
        self._response: Response | None = None
        self._stream_callback: StreamCallback | None = None
        self._done = False

    @property
    def status(self) -> int | None:
        """The status set with `set_status`, or None."""
        return self._status

    @property
    def response_sent(self) -> bool:
        """Whether a plain response has been decided."""
        return self._response is not None

    @property
    def sse_started(self) -> bool:
        """Whether `start_sse` has begun a stream."""
        return self.stream is not None

    def set_status(self, status: int) -> None:
        """Set the status of the answer.

        Raises:
            ValueError: Not 200 to 599.
            TypeError: Not an integer.
            ResponseAlreadySent, SSEAlreadyStarted: The answer is decided.
        """
        self._require_open("set_status")
        number = index(status)
        if not 200 <= number <= 599:
            raise ValueError(f"a status is 200 to 599, not {status!r}")
        self._status = number

    def set_header(self, name: str, value: str) -> None:
        """Set a header of the answer, in place of earlier ones of that name.

        Args:
            name: A token; case does not matter.
            value: Latin-1 text without control characters.

        Raises:
            ValueError, TypeError: Name or value cannot be sent.
            ResponseAlreadySent, SSEAlreadyStarted: The answer is decided.
        """
        self._require_open("set_header")
        field = checked_field(name, value)
        if self._headers is None:
            self._headers = [field]
        else:
            lower = field[0]
            self._headers = [other for other in self._headers if other[0] != lower]
            self._headers.append(field)

    def add_header(self, name: str, value: str) -> None:
        """Add a header line, beside earlier ones of that name (Link, Vary, ...).

        Raises:
            As `set_header`.
        """
        self._require_open("add_header")
        field = checked_field(name, value)
        self._headers = [*(self._headers or ()), field]

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age_s: int | None = None,
        expires: datetime | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = None,
        http_only: bool = True,
        same_site: cookies.SameSite | None = "lax",
        partitioned: bool = False,
    ) -> None:
        """Set a cookie; the arguments are those of `h3py.app.cookies.format_cookie`.

        Args:
            secure: None: over https exactly when this request came over https.

        Raises:
            ValueError, TypeError: A part that is not legal, naming it.
            ResponseAlreadySent, SSEAlreadyStarted: The answer is decided.
        """
        line = cookies.format_cookie(
            name,
            value,
            max_age_s=max_age_s,
            expires=expires,
            path=path,
            domain=domain,
            secure=self._exchange.scheme == "https" if secure is None else secure,
            http_only=http_only,
            same_site=same_site,
            partitioned=partitioned,
        )
        self.add_header("set-cookie", line)

    def delete_cookie(
        self, name: str, *, path: str | None = "/", domain: str | None = None, **attributes: Any
    ) -> None:
        """Make the client forget a cookie; path, domain and attributes as it was set with.

        Raises:
            As `set_cookie`.
        """
        self.set_cookie(name, "", max_age_s=0, path=path, domain=domain, **attributes)

    def send_text(self, text: str, *, status: int | None = None) -> None:
        """Answer with plain text.

        Raises:
            ResponseAlreadySent, SSEAlreadyStarted: The answer is decided.
        """
        self._send(TEXT, text.encode(), status)

    def send_html(self, html: str, *, status: int | None = None) -> None:
        """Answer with HTML. Raises as `send_text`."""
        self._send(HTML, html.encode(), status)

    def send_json(self, value: Any, *, status: int | None = None) -> None:
        """Answer with any value as JSON. Raises as `send_text`; ``TypeError`` if it cannot be."""
        self._send(JSON, json_body(value), status)

    def send_bytes(
        self, data: bytes, *, content_type: str | None = None, status: int | None = None
    ) -> None:
        """Answer with bytes. Raises as `send_text`."""
        kind = BINARY if content_type is None else checked_field(CONTENT_TYPE, content_type)
        self._send(kind, bytes(data), status)

    def send_empty(self, *, status: int = 204) -> None:
        """Answer without a body. Raises as `send_text`."""
        self._send(None, b"", status)

    def send_response(self, response: Response) -> None:
        """Answer with a `Response`. Raises as `send_text`."""
        self._require_open("send_response")
        self._response = to_response(response, self)

    def redirect(self, location: str, *, status: Literal[301, 302, 303, 307, 308] = 302) -> None:
        """Send the client elsewhere (RFC 9110 section 15.4).

        Args:
            location: A URL or a path; characters that a URL cannot hold are escaped.
                What comes from a client is the caller's to check.
            status: 303 makes it GET, 307 and 308 keep the method.

        Raises:
            ValueError: A status that is no redirection, or a control character
                (CR, LF, ...) in the location.
            ResponseAlreadySent, SSEAlreadyStarted: The answer is decided.
        """
        if status not in REDIRECTS:
            raise ValueError(f"redirect status must be one of {REDIRECTS}, not {status!r}")
        self._require_open("redirect")
        if any(ord(character) < 32 or character == "\x7f" for character in location):
            raise ValueError(f"redirect location has a control character: {location!r}")
        self.set_header("location", quote(location, safe=_LOCATION_SAFE))
        self._send(None, b"", status)

    def send_error(
        self, status: int, detail: str | None = None, *, headers: dict[str, str] | None = None
    ) -> None:
        """Answer with an error, as raising `HTTPError` would. Raises as `send_text`."""
        self._require_open("send_error")
        self._response = error_response(HTTPError(status, detail, headers=headers), self)

    def bad_request(self, detail: str | None = None) -> None:
        """Answer 400."""
        self.send_error(400, detail)

    def unauthorized(self, detail: str | None = None, *, challenge: str = "Bearer") -> None:
        """Answer 401 with a WWW-Authenticate challenge (RFC 9110 section 11.6.1)."""
        self.send_error(401, detail, headers={"www-authenticate": challenge})

    def forbidden(self, detail: str | None = None) -> None:
        """Answer 403."""
        self.send_error(403, detail)

    def not_found(self, detail: str | None = None) -> None:
        """Answer 404."""
        self.send_error(404, detail)

    def too_many_requests(self, retry_after_s: float, detail: str | None = None) -> None:
        """Answer 429 with Retry-After, in whole seconds, rounded up."""
        headers = {"retry-after": str(max(0, math.ceil(retry_after_s)))}
        self.send_error(429, detail, headers=headers)

    def start_sse(self) -> StreamStart:
        """Begin an event stream: its head leaves at once, with the headers set so far.

        Content-Type is ``text/event-stream``; Cache-Control ``no-cache``, Connection
        ``keep-alive`` and X-Accel-Buffering ``no`` unless they were set.

        Returns:
            The stream: enter it with ``with`` or ``async with`` to write, or leave it open.

        Raises:
            SSEAlreadyStarted: The stream has begun already.
            ResponseAlreadySent: A plain response was decided.
        """
        self.stream = self._exchange.start_sse(*self._stream_head("start_sse"))
        return self.stream

    def park_sse(self, home: StreamHome) -> StreamStart:
        """As `start_sse`, for a stream that ``home`` serves from its beginning.

        For those who attach streams to an engine: the caller parks it at once.
        """
        self.stream = self._exchange.park_sse(*self._stream_head("subscribe"), home)
        return self.stream

    def _stream_head(self, what: str) -> tuple[int, list[tuple[str, str]]]:
        self._require_open(what)
        headers = [field for field in self._headers or () if field[0] != CONTENT_TYPE]
        return self._status or 200, headers

    def set_stream_callback(
        self, callback: Callable[..., Any], *, context: bool = False, user_data: Any = None
    ) -> None:
        """Have ``callback(writer)`` write the stream, once the handler has returned.

        Args:
            callback: Plain, or async on the trio backend.
            context: Call it with a `StreamContext` (writer, event, user data) instead.
            user_data: Kept for the context.

        Raises:
            NotStreamingMode: `start_sse` was not called yet.
            SSEAlreadyStarted: The stream has a callback, or the handler has returned.
            ConfigError: An async callback on the threads backend.
            TypeError: It cannot be called.
        """
        if self.stream is None:
            raise NotStreamingMode("set_stream_callback: call start_sse() first")
        if self._stream_callback is not None:
            raise SSEAlreadyStarted("set_stream_callback: the stream has a callback already")
        if self._done:
            raise SSEAlreadyStarted("set_stream_callback: the handler has returned")
        if needs_trio(callback) and not self._can_await:
            raise ConfigError("set_stream_callback: an async callback needs the trio backend")
        self._stream_callback = StreamCallback(callback, context, user_data)

    def _send(self, content_type: tuple[str, str] | None, body: bytes, status: int | None) -> None:
        self._require_open("send")
        if status is not None:
            self.set_status(status)
        self._response = build_response(self, content_type, body)

    def _require_open(self, what: str) -> None:
        if self.stream is not None:
            raise SSEAlreadyStarted(f"{what}: the event stream has begun")
        if self._response is not None:
            raise ResponseAlreadySent(
                f"{what}: the response is decided (middleware may change the Response it is given)"
            )

    def __repr__(self) -> str:
        return f"<H3Event {self.request.method} {self.request.target}>"
