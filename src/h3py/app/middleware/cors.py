"""Cross-origin requests: what a browser may show to pages of other origins (Fetch, section 3.2).

Rules. Headers are set before the handler runs, so streams and errors carry them
too. An origin that is not allowed gets an ordinary answer without them: the
browser then keeps it from the page. A preflight is answered here, on any path.
Where the answer depends on the origin it says so (Vary), also to origins that
are not allowed and to requests without one, or a shared cache would mix them.

Stateless; what can be joined once is joined once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Literal

from h3py.app.checks import whole_number
from h3py.app.functions import inline
from h3py.app.response import add_vary
from h3py.errors import ConfigError
from h3py.http import Response, check_field

if TYPE_CHECKING:
    from h3py.app.event import H3Event

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_HEADERS = ("authorization", "content-type", "last-event-id")


def cors(
    *,
    origins: Literal["*"] | Iterable[str] = "*",
    methods: Iterable[str] = _METHODS,
    headers: Literal["*"] | Iterable[str] = _HEADERS,
    expose: Iterable[str] = (),
    credentials: bool = False,
    max_age_s: int = 600,
) -> Callable[[H3Event], Generator[Response | None, Response | None, None]]:
    """Allow pages of other origins to use this application.

    Args:
        origins: ``"*"`` for all, or origins as browsers send them
            (``"https://example.org"``; no path, no slash at the end).
        methods: What a preflight allows.
        headers: Request headers a preflight allows; ``"*"`` allows what is asked for.
        expose: Response headers that scripts may read.
        credentials: Allow cookies and HTTP authentication; not with all origins.
        max_age_s: How long a browser may keep a preflight's answer.

    Raises:
        ConfigError: ``credentials`` with ``origins="*"``, or a value that is not legal.
    """
    any_origin = origins == "*"
    allowed = frozenset(() if any_origin else _names("origins", origins))
    for origin in allowed:
        if origin != "null" and ("://" not in origin or origin.count("/") != 2 or "*" in origin):
            raise ConfigError(f"cors: {origin!r} is not an origin such as 'https://example.org'")
    if any_origin and credentials:
        raise ConfigError("cors: credentials need named origins, not '*'")
    whole_number("cors: max_age_s", max_age_s)
    any_header = headers == "*"
    allow_headers = "" if any_header else ", ".join(_names("headers", headers))
    allow_methods = ", ".join(_names("methods", methods))
    expose_headers = ", ".join(_names("expose", expose))

    def preflight(event: H3Event) -> Response:
        asked = ", ".join(event.headers.get_all("access-control-request-headers"))
        fields = [
            ("access-control-allow-methods", allow_methods),
            ("access-control-allow-headers", asked if any_header else allow_headers),
            ("access-control-max-age", str(max_age_s)),
        ]
        response = Response(204, [field for field in fields if field[1]])
        if any_header:
            add_vary(response, "Access-Control-Request-Headers")
        return response

    @inline
    def share(event: H3Event) -> Generator[Response | None, Response | None, None]:
        origin = event.headers.get("origin")
        is_allowed = origin is not None and (any_origin or origin in allowed)
        if not any_origin:
            event.add_header("vary", "Origin")
        answer = None
        if is_allowed:
            event.set_header("access-control-allow-origin", "*" if any_origin else origin or "")
            if credentials:
                event.set_header("access-control-allow-credentials", "true")
            if expose_headers:
                event.set_header("access-control-expose-headers", expose_headers)
        if (
            origin is not None
            and event.method == "OPTIONS"
            and "access-control-request-method" in event.headers
        ):
            answer = preflight(event) if is_allowed else Response(204)
        response = yield answer
        if response is not None and not any_origin:
            add_vary(response, "Origin")  # the handler may have set a Vary of its own

    return share


def _names(what: str, values: Iterable[str]) -> tuple[str, ...]:
    """Values that can stand in a header; a plain str is most likely a mistake."""
    if isinstance(values, str):
        raise ConfigError(f"cors: {what} must be a list, not the str {values!r}")
    names = tuple(values)
    for name in names:
        try:
            check_field(what, name)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"cors: {error}") from None
    return names
