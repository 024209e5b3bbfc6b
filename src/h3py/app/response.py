"""From what a handler returned, or raised, to the `Response` that is sent.

What a returned (or recorded) value becomes:

======================================  =============================================
``str``                                 text/plain; charset=utf-8 (``send_html``: text/html)
``bytes``, ``bytearray``, memoryview    application/octet-stream
mapping, list, msgspec Struct,          application/json, by msgspec
dataclass
``Response``                            as it is: its own headers win
``None``                                an empty body: 204, or the status that was set
anything else                           ``TypeError`` (500)
======================================  =============================================

A number is refused rather than guessed at (a status, or JSON?), a tuple too:
``set_status`` and ``send_json`` say which. Headers set on the event are added;
a content-type among them replaces the one above. Set-Cookie and Vary add up.

What was raised: `HTTPError` and `RequestError` their status, anything else 500.
The body is the detail as text, or as ``{"status": ..., "detail": ...}`` to a
client whose Accept names JSON and prefers it to text (RFC 9110 section 12.5.1).

Pure functions of their arguments; a `Response` handed out is the request's own
and may be changed by its middleware.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from h3py.app.functions import describe
from h3py.errors import HTTPError, RequestError, status_phrase
from h3py.http import Response
from h3py.http.fields import encode_field

if TYPE_CHECKING:
    from h3py.app.event import H3Event

Field = tuple[str, str]

CONTENT_TYPE = "content-type"
TEXT: Field = (CONTENT_TYPE, "text/plain; charset=utf-8")
HTML: Field = (CONTENT_TYPE, "text/html; charset=utf-8")
JSON: Field = (CONTENT_TYPE, "application/json")
BINARY: Field = (CONTENT_TYPE, "application/octet-stream")

# Fields of the answer that was meant; they do not describe an error's body.
_OF_THE_BODY = frozenset(
    (
        CONTENT_TYPE, "content-length", "content-encoding", "content-language", "etag",
        "last-modified",
    )
)  # fmt: skip
_ADDING_UP = frozenset(("set-cookie", "vary"))

PLAIN_VALUES = frozenset((str, bytes, dict, list, Response, type(None)))
"""Types that are a plain response at first sight: nothing to stream, nothing to await."""

_to_json = msgspec.json.Encoder().encode


def to_response(value: Any, event: H3Event) -> Response:
    """The response that a returned value stands for.

    Raises:
        TypeError: A value that stands for none, or cannot be made JSON.
        ValueError: A `Response` with headers that cannot be sent.
    """
    kind = value.__class__
    if kind is str:
        return build_response(event, TEXT, value.encode())
    if kind is dict or kind is list:
        return build_response(event, JSON, _to_json(value))
    if value is None:
        return build_response(event, None, b"", 204)
    if isinstance(value, Response):
        for field in value.headers:
            encode_field(field)
        headers = merge_headers(value.headers, event._headers or ())
        return Response(value.status, headers, value.body)
    if isinstance(value, bytes | bytearray | memoryview):
        return build_response(event, BINARY, bytes(value))
    if isinstance(value, str):
        return build_response(event, TEXT, value.encode())
    if isinstance(value, msgspec.Struct | list) or (
        is_dataclass(value) and not isinstance(value, type)
    ):
        return build_response(event, JSON, _to_json(value))
    if isinstance(value, Mapping):
        return build_response(event, JSON, _to_json(dict(value)))
    raise TypeError(
        f"{describe(kind)} is not a response: return str, bytes, a dict, a list, a Struct, "
        "a dataclass, a Response or None; for other JSON use event.send_json(), "
        "for a status event.set_status()"
    )


def json_body(value: Any) -> bytes:
    """``value`` as JSON.

    Raises:
        TypeError: msgspec cannot make it JSON.
    """
    return _to_json(value)


def build_response(
    event: H3Event, content_type: Field | None, body: bytes, status: int = 200
) -> Response:
    """A response with the event's status (``status`` where none was set) and headers."""
    headers = event._headers
    if headers is None:
        fields = [] if content_type is None else [content_type]
    elif content_type is None or any(name == CONTENT_TYPE for name, _ in headers):
        fields = headers
    else:
        fields = [content_type, *headers]
    return Response(event._status or status, fields, body)


def error_response(error: Exception, event: H3Event, *, debug: bool = False) -> Response:
    """The answer to a request that failed.

    Args:
        error: `HTTPError` and `RequestError` carry their status and detail; the
            detail of anything else is shown only with ``debug``.
        event: The request's; the headers set on it are added.
        debug: Show the traceback of an unexpected error.

    Raises:
        ValueError, TypeError: Headers of an `HTTPError` that cannot be sent.
    """
    own: list[Field] = []
    status = error_status(error)
    detail = status_phrase(status)
    if isinstance(error, HTTPError):
        detail = error.detail
        own.extend(checked_field(name, value) for name, value in error.headers.items())
    elif isinstance(error, RequestError):
        detail = error.detail
        own.append(("connection", "close"))  # what follows on the connection is not known
    elif debug:
        detail = "".join(traceback.format_exception(error))
    if prefers_json(event.request.headers.get_all("accept")):
        own.append(JSON)
        body = _to_json({"status": status, "detail": detail})
    else:
        own.append(TEXT)
        body = detail.encode("utf-8", "backslashreplace")
    kept = [field for field in event._headers or () if field[0] not in _OF_THE_BODY]
    return Response(status, merge_headers(own, kept), body)


def error_status(error: Exception) -> int:
    """The status that an exception is answered with."""
    return error.status if isinstance(error, HTTPError | RequestError) else 500


def merge_headers(own: Iterable[Field], added: Iterable[Field]) -> list[Field]:
    """``own`` and those of ``added`` whose name it lacks; Set-Cookie and Vary add up."""
    merged = list(own)
    names = {name.lower() for name, _ in merged}
    for field in added:
        name = field[0]
        # Not the same line twice: a middleware may give back what was merged before.
        if name not in names or (name in _ADDING_UP and field not in merged):
            merged.append(field)
    return merged


def checked_field(name: str, value: str) -> Field:
    """A header with its name in lower case.

    Raises:
        ValueError, TypeError: It cannot be sent.
    """
    if not isinstance(name, str):
        raise TypeError(f"a header name is a str, not {name!r}")
    field = (name.lower(), value)
    encode_field(field)  # which remembers the line: `check_field` would do the work twice
    return field


def add_vary(response: Response, *names: str) -> None:
    """Note that a response depends on request headers (RFC 9110 section 12.5.5)."""
    present = {
        item.strip().lower()
        for name, value in response.headers
        if name.lower() == "vary"
        for item in value.split(",")
    }
    missing = [name for name in names if name.lower() not in present]
    if missing and "*" not in present:
        response.headers.append(("vary", ", ".join(missing)))


def prefers_json(accept: Iterable[str]) -> bool:
    """Whether the Accept lines name JSON, and do not rank it below text or HTML."""
    json_quality = text_quality = 0.0
    for line in accept:
        for item in line.split(","):
            media_range, *parameters = (part.strip().lower() for part in item.split(";"))
            quality = _quality(parameters)
            if media_range == "application/json" or media_range.endswith("+json"):
                json_quality = max(json_quality, quality)
            elif media_range in ("text/plain", "text/html", "text/*"):
                text_quality = max(text_quality, quality)
    return json_quality > 0 and json_quality >= text_quality


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
