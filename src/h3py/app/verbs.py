"""The verbs of registration (``get``, ``post``, ...), shared by `H3` and `Group`.

Each works as a call and as a decorator, and gives back the function as it was
given, with its type. Registration belongs to one thread, before serving begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

from h3py.app.functions import Authorize, Handler, Kind, Middleware, describe, kind_of
from h3py.app.paths import parse_pattern
from h3py.app.router import ALL
from h3py.errors import ConfigError

if TYPE_CHECKING:
    from h3py.app.application import Group

H = TypeVar("H", bound=Handler)


class RouteOptions(TypedDict, total=False):
    """Options of one route.

    Attributes:
        authorize: Runs before the handler, ends before it too; what it returns or
            yields is ``event.principal``, ``False`` means 403.
        stream_body: Hand the body over in pieces (``event.body_stream``).
        middleware: Middleware of this route alone; runs after all other.
    """

    authorize: Authorize | None
    stream_body: bool
    middleware: Sequence[Middleware]


@dataclass(frozen=True, slots=True)
class Declared:
    """One registration, as it was written.

    Attributes:
        path: The pattern, with the prefix of its group.
        is_root: It was written as ``"/"``: it also answers at a prefix without a slash.
    """

    method: str
    path: str
    is_root: bool
    handler: Callable[..., Any]
    kind: Kind
    authorize: Callable[..., Any] | None
    stream_body: bool
    middleware: tuple[Callable[..., Any], ...]
    group: Group | None


class Verbs(ABC):
    """Registration of handlers."""

    @abstractmethod
    def _declare(self, declared: Declared) -> None:
        """Take a registration."""

    @overload
    def on(self, method: str, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def on(self, method: str, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def on(
        self,
        method: Any,
        path: Any,
        handler: Any = None,
        **options: Unpack[RouteOptions],
    ) -> Any:
        """Register a handler for a method and a pattern.

        Args:
            method: Such as ``"GET"``; ``"*"`` is every method.
            path: A pattern: text, ``:name``, ``*`` and ``**`` (see `h3py.app.paths`). In a
                group or a mounted application ``""`` is the prefix itself, and ``"/"``
                the prefix with and without a slash.
            handler: Takes the event; without it, a decorator is returned.
            **options: See `RouteOptions`.

        Raises:
            ConfigError: The pattern, the method or an option is not legal.
            TypeError: The handler cannot be called.
        """
        if not isinstance(path, str):
            raise ConfigError(f"a route begins with its path, not {path!r}")
        declared_options = _check_options(path, options)
        parse_pattern(path or "/")
        if not isinstance(method, str) or (method != ALL and not method.isalpha()):
            raise ConfigError(f"{method!r} is not a method")

        def register(function: H) -> H:
            kind = kind_of(function)
            self._declare(
                Declared(
                    method=method.upper(),
                    path=path,
                    is_root=path == "/",
                    handler=function,
                    kind=kind,
                    group=None,
                    **declared_options,
                )
            )
            return function

        return register if handler is None else register(handler)

    @overload
    def get(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def get(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for GET; HEAD is answered too, without the body. See `on`."""
        return self.on("GET", path, handler, **options)

    @overload
    def post(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def post(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for POST. See `on`."""
        return self.on("POST", path, handler, **options)

    @overload
    def put(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def put(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for PUT. See `on`."""
        return self.on("PUT", path, handler, **options)

    @overload
    def patch(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def patch(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for PATCH. See `on`."""
        return self.on("PATCH", path, handler, **options)

    @overload
    def delete(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def delete(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for DELETE. See `on`."""
        return self.on("DELETE", path, handler, **options)

    @overload
    def head(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def head(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def head(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for HEAD, instead of what GET gives. See `on`."""
        return self.on("HEAD", path, handler, **options)

    @overload
    def options(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def options(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def options(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for OPTIONS, instead of the automatic answer. See `on`."""
        return self.on("OPTIONS", path, handler, **options)

    @overload
    def all(self, path: str, handler: H, **options: Unpack[RouteOptions]) -> H: ...
    @overload
    def all(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[H], H]: ...
    def all(self, path: str, handler: Any = None, **options: Unpack[RouteOptions]) -> Any:
        """Register for every method that the pattern has no other handler for. See `on`."""
        return self.on(ALL, path, handler, **options)


class _CheckedOptions(TypedDict):
    authorize: Callable[..., Any] | None
    stream_body: bool
    middleware: tuple[Callable[..., Any], ...]


def _check_options(path: str, options: RouteOptions) -> _CheckedOptions:
    unknown = set(options) - {"authorize", "stream_body", "middleware"}
    if unknown:
        raise ConfigError(f"route {path!r}: unknown option {sorted(unknown)[0]!r}")
    authorize = options.get("authorize")
    stream_body = options.get("stream_body", False)
    middleware = tuple(options.get("middleware", ()))
    for function in (*middleware, *(() if authorize is None else (authorize,))):
        if not callable(function):
            raise ConfigError(f"route {path!r}: {function!r} is not a function")
    if not isinstance(stream_body, bool):
        raise ConfigError(f"route {path!r}: stream_body must be True or False")
    return {"authorize": authorize, "stream_body": stream_body, "middleware": middleware}


def name_of(declared: Declared, path: str) -> str:
    """How messages name a route: method, pattern, function."""
    method = "ALL" if declared.method == ALL else declared.method
    return f"{method} {path} ({describe(declared.handler)})"
