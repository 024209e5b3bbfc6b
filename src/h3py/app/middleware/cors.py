"""Cross-origin requests: what a browser may show to pages of other origins (Fetch, section 3.2).

Rules. An origin is allowed if it is named, letter by letter: nothing that a client sends is
reflected, so no list of suffixes or patterns can be talked into allowing a look-alike. All
origins (``"*"``) never come with credentials. Headers are set before the handler runs, so
streams and errors carry them too. An origin that is not allowed gets an ordinary answer
without them: the browser then keeps it from the page. A preflight is answered here, on any
path. Where the answer depends on the origin it says so (Vary), also to origins that are not
allowed and to requests without one, or a shared cache would mix them.

Immutable; what can be joined once is joined once. Any thread may call it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Literal

from h3py.app.checks import whole_number
from h3py.app.functions import inline
from h3py.app.response import add_vary
from h3py.errors import ConfigError
from h3py.http import Response

if TYPE_CHECKING:
    from h3py.app.event import H3Event

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_HEADERS = ("authorization", "content-type", "last-event-id")
_EXPOSED = ("retry-after",)  # what a script needs that is told to come back later

# As browsers serialise it (HTML, "serialization of an origin"): in lower case, no path.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
_TOKENS = re.compile(rf"{_TOKEN}(?:[ \t]*,[ \t]*{_TOKEN})*")


class CORS:
    """Middleware that allows pages of other origins to use an application, or a part of it.

    ::

        app.use("/api", CORS(origins=["https://example.org"], credentials=True))

    Args:
        origins: ``"*"`` for all, or origins as browsers send them
            (``"https://example.org"``; in lower case, no path, no slash at the end, no
            default port). ``"null"`` stands for sandboxed pages and files, whosever they are.
        credentials: Allow cookies and HTTP authentication; for named origins only.
        methods: What a preflight allows.
        headers: Request headers a preflight allows; ``"*"`` allows what is asked for.
        expose: Response headers that scripts may read.
        max_age_s: Seconds, 0 or more, that a browser may keep a preflight's answer.

    Raises:
        ConfigError: ``credentials`` with ``"*"`` or ``"null"``, or a value that is not legal.
    """

    __slots__ = (
        "_any_header", "_any_origin", "_credentials", "_expose", "_origins", "_preflight",
    )  # fmt: skip

    def __init__(
        self,
        origins: Literal["*"] | Iterable[str] = "*",
        *,
        credentials: bool = False,
        methods: Iterable[str] = _METHODS,
        headers: Literal["*"] | Iterable[str] = _HEADERS,
        expose: Iterable[str] = _EXPOSED,
        max_age_s: int = 600,
    ) -> None:
        self._any_origin = origins == "*"
        self._origins = frozenset(() if self._any_origin else _listed("origins", origins))
        for origin in self._origins:
            _check_origin(origin)
        if credentials and (self._any_origin or "null" in self._origins):
            raise ConfigError("CORS: credentials need named origins, not '*' and not 'null'")
        self._credentials = bool(credentials)
        self._any_header = headers == "*"
        self._expose = _tokens("expose", expose)
        allow_headers = "" if self._any_header else _tokens("headers", headers)
        self._preflight = (
            ("access-control-allow-methods", _tokens("methods", methods)),
            ("access-control-allow-headers", allow_headers),
            ("access-control-max-age", str(whole_number("CORS: max_age_s", max_age_s))),
        )

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin may read what is answered."""
        return self._any_origin or origin in self._origins

    @inline
    def __call__(self, event: H3Event) -> Generator[Response | None, Response | None, None]:
        """Set the headers, or answer a preflight."""
        lines = event.headers.get_all("origin")
        origin = lines[0] if len(lines) == 1 else None  # a browser sends one
        is_allowed = origin is not None and self.allows(origin)
        if not self._any_origin:
            event.add_header("vary", "Origin")
        answer = None
        if is_allowed:
            event.set_header(
                "access-control-allow-origin", "*" if self._any_origin else origin or ""
            )
            if self._credentials:
                event.set_header("access-control-allow-credentials", "true")
            if self._expose:
                event.set_header("access-control-expose-headers", self._expose)
        if (
            origin is not None
            and event.method == "OPTIONS"
            and "access-control-request-method" in event.headers
        ):
            answer = self._answer(event) if is_allowed else Response(204)
        response = yield answer
        if response is not None and not self._any_origin:
            add_vary(response, "Origin")  # the handler may have set a Vary of its own

    def _answer(self, event: H3Event) -> Response:
        response = Response(204, [field for field in self._preflight if field[1]])
        if self._any_header:
            asked = ", ".join(event.headers.get_all("access-control-request-headers"))
            if _TOKENS.fullmatch(asked):
                response.headers.append(("access-control-allow-headers", asked))
            add_vary(response, "Access-Control-Request-Headers")
        return response


def _check_origin(origin: str) -> None:
    """Refuse what no browser would send: it would never match, and look as if it did."""
    if origin == "null":
        return
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        raise ConfigError(f"CORS: {origin!r} is not an origin such as 'https://example.org'")
    scheme, port = found.groups()
    if port is not None and _DEFAULT_PORTS.get(scheme) == port:
        raise ConfigError(f"CORS: {origin!r}: browsers leave out the default port")


def _listed(what: str, values: Iterable[str]) -> tuple[str, ...]:
    """Values of text; a plain str is most likely a mistake."""
    if isinstance(values, str):
        raise ConfigError(f"CORS: {what} must be a list, not the str {values!r}")
    listed = tuple(values)
    for value in listed:
        if not isinstance(value, str):
            raise ConfigError(f"CORS: {what} must be a list of str, not of {value!r}")
    return listed


def _tokens(what: str, values: Iterable[str]) -> str:
    """Names as one header's value."""
    names = _listed(what, values)
    for name in names:
        if not re.fullmatch(_TOKEN, name):
            raise ConfigError(f"CORS: {what}: {name!r} is not a name that HTTP knows")
    return ", ".join(names)
