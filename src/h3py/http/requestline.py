"""The request line: method, target, version (RFC 9112 section 3).

Rules: no I/O, no state; a function of the line's bytes, and the tables it reads.
llhttp would take HTTP/0.9 and 2.0, targets of any shape, and methods that are
not HTTP's, so the line is judged here first.
"""

from __future__ import annotations

import re
from typing import Final

from h3py.errors import RequestError
from h3py.http.guards import TOKEN
from h3py.http.request import HTTP_10, HTTP_11, Version

METHODS: Final = frozenset(
    (
        # RFC 9110 section 9 and RFC 5789; CONNECT is for proxies.
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
        # The others of the IANA registry that llhttp knows.
        "ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR",
        "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "QUERY", "REBIND", "REPORT", "SEARCH", "UNBIND",
        "UNLINK", "UNLOCK",
        # Unregistered, in use: caches, UPnP, Subversion's kin.
        "M-SEARCH", "NOTIFY", "PURGE", "SUBSCRIBE", "UNSUBSCRIBE",
    )
)  # fmt: skip
"""What a router may be asked about; any other is answered with 501 (RFC 9110 section 9.1)."""

_VERSIONS: Final[dict[str, Version]] = {"HTTP/1.1": HTTP_11, "HTTP/1.0": HTTP_10}
_VERSION = re.compile(r"HTTP/([0-9])\.[0-9]")
_METHOD = re.compile(TOKEN.decode())
# RFC 3986 section 3.2, without userinfo, which is a fault here (RFC 9110 section
# 4.2.4), and without the comma, which no name has but two Host fields joined by a proxy do.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?"
)
_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)")


# A plain tuple: a named one takes a third of a microsecond longer to make.
RequestLine = tuple[str, str, str, str, Version, bytes | None]
"""Method, target, path, query string, version, and the host of a target in absolute form."""


def is_host(value: bytes) -> bool:
    """Whether that is a host, with or without a port (RFC 9112 section 3.2).

    Empty is none: an ``http`` URI must have a host (RFC 9110 section 4.2.1).
    """
    return _HOST.fullmatch(value) is not None


def parse_request_line(line: bytes) -> RequestLine:
    """Take a request line apart.

    Args:
        line: The line without its CRLF; the guards have seen to its control characters.

    Raises:
        RequestError: 400 for a malformed line or target, 501 for a method not
            served here, 505 for a major version other than 1.
    """
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        text = "\t"
    if "\t" in text:
        raise RequestError(400, "illegal byte in a line of the request")
    parts = text.split(" ")
    if len(parts) != 3:
        raise RequestError(400, "malformed request line")
    method, target, protocol = parts
    version = _VERSIONS.get(protocol) or _other_version(protocol)
    if method not in METHODS:
        raise _refused_method(method)
    if target[:1] != "/":
        return _other_target(method, target, version)
    path, _, query = target.partition("?")
    if "#" in target:
        raise RequestError(400, "fragment in the request target")
    return method, target, path, query, version, None


def _other_version(protocol: str) -> Version:
    match = _VERSION.fullmatch(protocol)
    if match is None:
        raise RequestError(400, "malformed request line")
    if match[1] != "1":
        raise RequestError(505, "only HTTP/1.0 and HTTP/1.1 are served")
    # A higher minor version is to be taken as the highest one known (RFC 9110 section 2.5).
    return HTTP_11


def _refused_method(method: str) -> RequestError:
    if _METHOD.fullmatch(method) is None:
        return RequestError(400, "malformed request line")
    return RequestError(501, "method not implemented")


def _other_target(method: str, target: str, version: Version) -> RequestLine:
    """A target in absolute or asterisk form (RFC 9112 section 3.2)."""
    if target == "*" and method == "OPTIONS":
        return method, target, target, "", version, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not is_host(host := match[1].encode()):
        raise RequestError(400, "malformed request target")
    if "#" in target:
        raise RequestError(400, "fragment in the request target")
    path, _, query = match[2].partition("?")
    if not path:
        path = "*" if method == "OPTIONS" and not query else "/"
    return method, target, path, query, version, host
