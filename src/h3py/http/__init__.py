"""HTTP/1.1 without I/O: bytes to requests, responses to bytes.

``RequestParser`` reads what a connection brings and knows every limit;
``encode_response`` and ``encode_stream_head`` write. Nothing here touches a
socket, a clock or a lock, and nothing knows which backend it serves.
"""

from h3py.http.chunked import LAST_CHUNK, encode_chunk
from h3py.http.fields import check_field
from h3py.http.headers import Headers
from h3py.http.parser import Phase, RequestParser
from h3py.http.request import HTTP_10, HTTP_11, BodyStream, Request, Version
from h3py.http.response import (
    CONTINUE,
    Response,
    asks_close,
    encode_error,
    encode_response,
    encode_stream_head,
    has_body,
    http_date,
)

__all__ = [
    "CONTINUE",
    "HTTP_10",
    "HTTP_11",
    "LAST_CHUNK",
    "BodyStream",
    "Headers",
    "Phase",
    "Request",
    "RequestParser",
    "Response",
    "Version",
    "asks_close",
    "check_field",
    "encode_chunk",
    "encode_error",
    "encode_response",
    "encode_stream_head",
    "has_body",
    "http_date",
]
