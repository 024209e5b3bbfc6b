"""The request's side of an event: everything is computed when it is asked for, and kept.

Rules. Reading only: nothing here changes the answer. What a client sent wrong
(bytes that are not UTF-8, JSON of another shape) is an `HTTPError` 400 at the
moment it is read, so a handler that never looks never fails.

Owner: the event, whose base this is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec

from h3py.app.body import BodyReader
from h3py.app.cookies import parse_cookies
from h3py.app.forms import MAX_FIELDS, Form, parse_form, parse_urlencoded
from h3py.app.multimap import MultiMap
from h3py.app.paths import decode_path
from h3py.backends.steps import Exchange
from h3py.errors import HTTPError
from h3py.http import BodyStream, Headers, Request

T = TypeVar("T")


class RequestView:
    """What a handler reads of its request."""

    __slots__ = (
        "_body_reader", "_cookies", "_exchange", "_path", "_query", "_values", "params", "request",
    )  # fmt: skip

    def __init__(self, request: Request, exchange: Exchange, params: Mapping[str, str]) -> None:
        self.request = request
        self.params = params
        self._exchange = exchange
        self._body_reader: BodyReader | None = None
        self._cookies: dict[str, str] | None = None
        self._path: str | None = None
        self._query: MultiMap[str] | None = None
        self._values: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """The method, in the case it was sent."""
        return self.request.method

    @property
    def path(self) -> str:
        """The path, percent-decoded segment by segment (``%2F`` stays), without the query.

        It is what patterns and prefixes are matched with.
        """
        if self._path is None:
            try:
                self._path = decode_path(self.request.path)
            except ValueError:
                self._path = self.request.path  # a 400 is under way
        return self._path

    @property
    def scheme(self) -> str:
        """``"http"`` or ``"https"``."""
        return self._exchange.scheme

    @property
    def url(self) -> str:
        """The whole URL as the client wrote it: scheme, host, raw path and query."""
        request = self.request
        host = request.headers.get("host") or "localhost"
        query = f"?{request.query_string}" if request.query_string else ""
        return f"{self.scheme}://{host}{request.path}{query}"

    @property
    def headers(self) -> Headers:
        """The request's header fields: case-insensitive, with ``get_all``."""
        return self.request.headers

    @property
    def query(self) -> MultiMap[str]:
        """The parameters of the query, decoded, with ``get_all``.

        Raises:
            HTTPError: 400 for bytes that are not UTF-8.
        """
        if self._query is None:
            fields = parse_urlencoded(self.request.query_string, max_fields=MAX_FIELDS)
            self._query = MultiMap(fields)
        return self._query

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies the client sent."""
        if self._cookies is None:
            self._cookies = parse_cookies(self.request.headers.get_all("cookie"))
        return self._cookies

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer's address and port, or None on a Unix socket."""
        return self._exchange.client

    @property
    def context(self) -> dict[str, Any]:
        """A dict of the application's own, for this request."""
        if self._values is None:
            self._values = {}
        return self._values

    @property
    def body(self) -> bytes:
        """The whole body; read before the handler runs.

        Raises:
            RuntimeError: The route takes its body in pieces: use `body_stream`.
        """
        body = self.request.body
        if isinstance(body, BodyStream):
            raise RuntimeError("this route has stream_body=True: iterate event.body_stream")
        return body

    @property
    def body_stream(self) -> BodyReader:
        """The body in pieces: ``for piece in ...``, or ``async for``."""
        if self._body_reader is None:
            stream = self.request.body
            if not isinstance(stream, BodyStream):
                whole, stream = stream, BodyStream()
                stream.put(whole)
                stream.complete = True
            self._body_reader = BodyReader(stream, self._exchange)
        return self._body_reader

    @overload
    def read_json(self) -> Any: ...
    @overload
    def read_json(self, type: type[T]) -> T: ...
    @overload
    def read_json(self, type: Any) -> Any: ...
    def read_json(self, type: Any = Any) -> Any:
        """The body as JSON, checked against ``type``.

        Args:
            type: Any type msgspec knows: a Struct, a dataclass, ``list[int]``, ...

        Raises:
            HTTPError: 400 for what is not JSON, or not of that type; the detail is
                msgspec's message, which names the field.
        """
        try:
            return _json_decoder(type).decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HTTPError(400, f"the body is not what was expected: {error}") from None
        except RecursionError:
            raise HTTPError(400, "the body is nested too deeply") from None

    def read_form(self, *, max_fields: int = MAX_FIELDS) -> Form:
        """The body as a form: urlencoded, or multipart (extra ``forms``).

        Args:
            max_fields: Fields and files at most (400 past it).

        Raises:
            HTTPError: 415 when the body is no form, 400 when it is a broken one.
            ConfigError: A multipart form, and python-multipart is not installed.
        """
        content_type = self.request.headers.get("content-type", "")
        return parse_form(content_type, self.body, max_fields=max_fields)

    def limit_body(self, max_bytes: int) -> None:
        """Accept no more than so many bytes of body for this request.

        Raises:
            HTTPError: 413, if it is known to be larger; if it is still arriving, later,
                from `body_stream`.
        """
        body = self.request.body
        if isinstance(body, BodyStream):
            self.body_stream.limit_bytes = max_bytes
            size = int(self.request.headers.get("content-length", "0"))
        else:
            size = len(body)
        if size > max_bytes:
            raise HTTPError(413, f"the body is over {max_bytes} bytes")


@lru_cache(maxsize=256)
def _json_decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)
