"""Requests that a page of another origin makes with the visitor's cookies (CSRF).

Theory. A browser says where a request comes from: in Sec-Fetch-Site (W3C Fetch Metadata), or,
where that is missing, in Origin, which is compared with Host. A request with neither does not
come from a page, so there is nobody whose cookies it could misuse. That is the algorithm of
Go's ``http.CrossOriginProtection``; it needs no token and no state. Unlike that one this
looks at GET as well: an event stream is a GET that costs, and may take over another stream.

Rules. What the CORS headers of the answer (set before, by whatever middleware) allow is let
through; all origins (``*``) are allowed without cookies only, as browsers have it.

Stateless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from h3py.app.functions import inline
from h3py.errors import HTTPError

if TYPE_CHECKING:
    from h3py.app.event import H3Event

_OWN = ("same-origin", "none")  # "none": the visitor's own doing, such as the address bar
_ALLOW = "access-control-allow-origin"


def refuse_cross_origin() -> Callable[[H3Event], None]:
    """Answer 403 to requests that a page of another origin makes, unless CORS allows it.

    Behind a proxy that rewrites Host, browsers too old for Sec-Fetch-Site (before 2023), and all
    browsers over plain http, are refused: let the proxy pass Host on.
    """

    @inline
    def refuse(event: H3Event) -> None:
        if is_cross_origin(event) and not _is_shared(event):
            raise HTTPError(403, "a page of another origin may not make this request")

    return refuse


def is_cross_origin(event: H3Event) -> bool:
    """Whether a browser says that a page of another origin makes the request."""
    site = event.headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN
    origin = event.headers.get("origin")
    if origin is None:
        return False
    return origin.partition("://")[2] != event.headers.get("host", "").lower()


def _is_shared(event: H3Event) -> bool:
    """Whether the answer's headers so far let the page read it."""
    origin = event.headers.get("origin")
    if origin is None:
        return False
    allowed = [value for name, value in event._headers or () if name == _ALLOW]
    return origin in allowed or ("*" in allowed and "cookie" not in event.headers)
