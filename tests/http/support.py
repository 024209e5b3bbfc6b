"""What the tests of the request parser share: reading bytes to the end, in any pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from h3py.http import BodyStream, Request, RequestParser
from h3py.options import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
"""A head to which fields and an empty line must be added."""
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
"""The head of a request with a chunked body."""


def feed_all(parser: RequestParser, pieces: Iterable[bytes]) -> list[Request]:
    """Feed every piece; after each, take what was held back, as a backend does."""
    requests: list[Request] = []
    for piece in pieces:
        requests += parser.feed(piece)
        while parser.buffered:
            requests += parser.feed(b"")
    return requests


def parse(data: bytes, limits: Limits | None = None) -> tuple[list[Request], RequestParser]:
    """All requests of ``data``, in one piece."""
    parser = RequestParser(limits or Limits())
    return feed_all(parser, [data]), parser


def parse_one(data: bytes, limits: Limits | None = None) -> Request:
    """The one request that ``data`` is."""
    requests, parser = parse(data, limits)
    assert parser.error is None
    (request,) = requests
    return request


def status_of(data: bytes, limits: Limits | None = None) -> int | None:
    """The status of the error that comes before any request; None without an error."""
    requests, parser = parse(data, limits)
    if parser.error is None:
        return None
    assert requests == []
    return parser.error.status


def bytewise(data: bytes) -> list[bytes]:
    """One piece for each byte."""
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """``data`` in pieces that end at the given places."""
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


def outcome(parser: RequestParser, requests: list[Request]) -> dict[str, Any]:
    """All that can be told of a connection's bytes, comparable."""
    return {
        "requests": [
            (
                r.method, r.target, r.path, r.query_string, r.version, list(r.headers.items()),
                r.keep_alive, _body(r),
            )
            for r in requests
        ],
        "error": parser.error and (parser.error.status, parser.error.detail),
        "phase": parser.phase,
    }  # fmt: skip


def _body(request: Request) -> Any:
    body = request.body
    if not isinstance(body, BodyStream):
        return body
    error = body.error and (body.error.status, body.error.detail)
    return (body.take(), body.complete, error)
