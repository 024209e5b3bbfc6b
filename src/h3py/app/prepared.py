"""A prepared application: routes, middleware and handlers compiled to what one request needs.

Theory. All that can be known before the first request is worked out here: the
kind of each function, the patterns with the prefixes of mounts and groups in
front of them, and for each route the chain of middleware that its requests go
through. Middleware with a prefix applies by path, and a pattern can reach into
the prefix (``/:section`` under ``use("/admin", ...)``): such a route gets its
chain from the request's path; every other route has it ready. Paths that are
patterns themselves are found in a dictionary, without a walk.

What no route answers has an endpoint as well (404, 405, the automatic OPTIONS,
400 for a path that cannot be decoded), so that middleware sees it.

Rules. Immutable once compiled; any number of threads serve from it. It ends
with the server.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from h3py.app import lifecycle
from h3py.app.event import NO_PARAMS, H3Event
from h3py.app.functions import Kind, describe, is_inline, kind_of, needs_trio
from h3py.app.paths import (
    Pattern,
    Segment,
    SegmentKind,
    matches_prefix,
    parse_pattern,
    parse_prefix,
    split_path,
)
from h3py.app.router import ALL, Leaf, Refused, Router
from h3py.app.verbs import Declared, name_of
from h3py.backends.steps import Exchange, Step
from h3py.errors import ConfigError, HTTPError
from h3py.http import Request, Response

if TYPE_CHECKING:
    from h3py.app.application import H3
    from h3py.options import Backend


class Piece(NamedTuple):
    """A middleware or an ``authorize``, with what running it depends on."""

    function: Callable[..., Any]
    kind: Kind
    inline: bool


Chain = tuple[Piece, ...]


class Scope(NamedTuple):
    """A middleware with the prefix it applies to."""

    prefix: tuple[Segment, ...]
    piece: Piece


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """What answers a request once it is routed.

    Attributes:
        name: Method, pattern and function, for messages.
        own: Middleware of its groups and of the route itself.
        chain: All middleware of its requests; None where it depends on the path.
    """

    name: str
    handler: Callable[..., Any]
    kind: Kind
    authorize: Piece | None = None
    stream_body: bool = False
    own: Chain = ()
    chain: Chain | None = ()

    def __str__(self) -> str:
        return self.name


class Routed(NamedTuple):
    """An endpoint, the middleware on the way to it, and what the path gave it."""

    endpoint: Endpoint
    chain: Chain
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedApp:
    """What a backend serves (`h3py.backends.steps.Application`). Made by `H3.prepare`.

    Attributes:
        can_await: Whether the backend can run what is async.
        debug: Show unexpected exceptions to the client.
    """

    can_await: bool
    debug: bool
    router: Router[Endpoint]
    scopes: tuple[Scope, ...]
    streams_bodies: bool
    exact: dict[str, dict[str, Routed]] = field(default_factory=dict)

    def wants_stream(self, request: Request) -> bool:
        """Whether the request's body is to be handed over in pieces."""
        if not self.streams_bodies:
            return False
        return self.find(request.method, request.path).endpoint.stream_body

    def respond(
        self, request: Request, exchange: Exchange
    ) -> Generator[Step, Any, Response | None]:
        """The life of one request: see `h3py.app.lifecycle.respond`."""
        return lifecycle.respond(self, request, exchange)

    def find(self, method: str, path: str) -> Routed:
        """Route a request; there is always an endpoint, one that says 404 at worst."""
        by_method = self.exact.get(path)
        if by_method is not None:
            routed = by_method.get(method)
            if routed is not None:
                return routed
        if not path.startswith("/"):
            return self._find_asterisk(method, path)
        try:
            segments = split_path(path)
        except ValueError:
            return Routed(_BAD_PATH, self._scoped(()), NO_PARAMS)
        found = self.router.find(method, segments)
        if isinstance(found, Refused):
            return self._refuse(method, segments, found)
        endpoint = found.entry
        chain = endpoint.chain
        if chain is None:
            chain = self._scoped(segments) + endpoint.own
        return Routed(endpoint, chain, found.params or NO_PARAMS)

    def _refuse(self, method: str, segments: list[str], refused: Refused[Endpoint]) -> Routed:
        chain = self._scoped(segments)
        if not refused.leaves:
            return Routed(_NOT_FOUND, chain, NO_PARAMS)
        # What all methods of the path have in common belongs to the path.
        chain += _common([entry.own for entry in refused.leaves[0].entries.values()])
        return Routed(_without_method(method, refused.allow), chain, NO_PARAMS)

    def _find_asterisk(self, method: str, path: str) -> Routed:
        """``OPTIONS *`` asks about the server as a whole (RFC 9110 section 9.3.7)."""
        chain = self._scoped(())
        if method != "OPTIONS" or path != "*":
            return Routed(_NOT_FOUND, chain, NO_PARAMS)
        everything = Refused(tuple(self.router.leaves))
        return Routed(_without_method(method, everything.allow), chain, NO_PARAMS)

    def _scoped(self, segments: Iterable[str]) -> Chain:
        parts = list(segments)
        return tuple(scope.piece for scope in self.scopes if matches_prefix(scope.prefix, parts))


def compile_app(app: H3, *, can_await: bool, debug: bool) -> PreparedApp:
    """Compile an application with everything that is mounted in it.

    Raises:
        ConfigError: Two handlers for one place, or two names for one parameter.
    """
    collected = _Collected()
    collected.take(app, "")
    router: Router[Endpoint] = Router()
    roots: list[tuple[Declared, Pattern]] = []
    for declared, prefix in collected.routes:
        path = prefix + declared.path
        pattern = parse_pattern(path)
        router.add(declared.method, pattern, _compile(declared, pattern, collected.scopes))
        if declared.is_root and path != "/":
            roots.append((declared, parse_pattern(path.removesuffix("/"))))
    for declared, pattern in roots:
        endpoint = _compile(declared, pattern, collected.scopes)
        router.add_unless_taken(declared.method, pattern, endpoint)
    prepared = PreparedApp(
        can_await=can_await,
        debug=debug,
        router=router,
        scopes=tuple(collected.scopes),
        streams_bodies=any(declared.stream_body for declared, _ in collected.routes),
    )
    for leaf in router.leaves:
        if leaf.pattern.is_exact and leaf.pattern.text.isascii():
            prepared.exact[leaf.pattern.text] = _by_method(leaf)
    return prepared


def check_backend(app: H3, backend: Backend) -> None:
    """Refuse what is async on the threads backend.

    Raises:
        ConfigError: Naming each route, middleware and hook.
    """
    if backend == "trio":
        return
    collected = _Collected()
    collected.take(app, "")
    found: list[str] = []
    for declared, prefix in collected.routes:
        name = name_of(declared, prefix + declared.path)
        group = declared.group.middleware if declared.group else ()
        if needs_trio(declared.handler):
            found.append(f"route {name}")
        if declared.authorize is not None and needs_trio(declared.authorize):
            found.append(f"authorize {describe(declared.authorize)} of route {name}")
        found.extend(
            f"middleware {describe(function)} of route {name}"
            for function in (*group, *declared.middleware)
            if needs_trio(function)
        )
    found.extend(
        f"middleware {describe(scope.piece.function)}"
        for scope in collected.scopes
        if needs_trio(scope.piece.function)
    )
    for what, hooks in (
        ("on_start", app.start_hooks),
        ("on_stop", app.stop_hooks),
        ("background", app.backgrounds),
    ):
        found.extend(f"{what} {describe(hook)}" for hook in hooks if needs_trio(hook))
    if found:
        raise ConfigError(f"async functions need the trio backend: {'; '.join(found)}")


@dataclass(slots=True)
class _Collected:
    """The routes and scopes of an application and its mounts, prefixes in front."""

    routes: list[tuple[Declared, str]] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)

    def take(self, app: H3, prefix: str) -> None:
        for item in app.scoped:
            self.scopes.append(Scope(parse_prefix(prefix + item.prefix), _piece(item.middleware)))
        self.routes.extend((declared, prefix) for declared in app.routes)
        for mounted in app.mounted:
            self.take(mounted.app, prefix + mounted.prefix)


def _compile(declared: Declared, pattern: Pattern, scopes: list[Scope]) -> Endpoint:
    group = declared.group.middleware if declared.group else ()
    own = tuple(_piece(function) for function in (*group, *declared.middleware))
    chain: Chain | None = None
    verdicts = [_applies(scope.prefix, pattern.segments) for scope in scopes]
    if None not in verdicts:
        applying = (scope.piece for scope, yes in zip(scopes, verdicts, strict=True) if yes)
        chain = (*applying, *own)
    return Endpoint(
        name=name_of(declared, pattern.text),
        handler=declared.handler,
        kind=declared.kind,
        authorize=None if declared.authorize is None else _piece(declared.authorize),
        stream_body=declared.stream_body,
        own=own,
        chain=chain,
    )


def _piece(function: Callable[..., Any]) -> Piece:
    return Piece(function, kind_of(function), is_inline(function))


def _applies(prefix: tuple[Segment, ...], pattern: tuple[Segment, ...]) -> bool | None:
    """Whether every path of a pattern lies below a prefix, none does, or (None) it depends."""
    depends = False
    for position, wanted in enumerate(prefix):
        if position == len(pattern):
            return False
        given = pattern[position]
        if given.kind is SegmentKind.REST:
            return None
        if given.kind is SegmentKind.TEXT:
            matches = (
                given.text == wanted.text if wanted.kind is SegmentKind.TEXT else given.text != ""
            )
            if not matches:
                return False
        elif wanted.kind is SegmentKind.TEXT:
            depends = True
    return None if depends else True


def _common(chains: list[Chain]) -> Chain:
    """The pieces that all chains begin with."""
    same = 0
    for pieces in zip(*chains, strict=False):
        if any(piece.function is not pieces[0].function for piece in pieces):
            break
        same += 1
    return chains[0][:same]


def _by_method(leaf: Leaf[Endpoint]) -> dict[str, Routed]:
    by_method: dict[str, Routed] = {}
    for method in {*leaf.entries, "HEAD"} - {ALL}:
        endpoint = leaf.pick(method)
        if endpoint is not None and endpoint.chain is not None:
            by_method[method] = Routed(endpoint, endpoint.chain, NO_PARAMS)
    return by_method


def _not_found(event: H3Event) -> NoReturn:
    raise HTTPError(404)


def _bad_path(event: H3Event) -> NoReturn:
    raise HTTPError(400, "the path is not percent-encoded UTF-8")


_NOT_FOUND = Endpoint("no route", _not_found, Kind.INLINE)
_BAD_PATH = Endpoint("no route", _bad_path, Kind.INLINE)


def _without_method(method: str, allow: tuple[str, ...]) -> Endpoint:
    """What answers a path that has no handler for the method: OPTIONS, else 405."""
    allowed = ", ".join(allow)

    def options(event: H3Event) -> None:
        event.set_header("allow", allowed)

    def refuse(event: H3Event) -> NoReturn:
        raise HTTPError(405, headers={"allow": allowed})

    return Endpoint("no route", options if method == "OPTIONS" else refuse, Kind.INLINE)
