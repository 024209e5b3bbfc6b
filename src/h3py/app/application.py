"""`H3`: what an application is made of, as it is written down.

Rules. Nothing here runs a request. An application collects routes, middleware,
mounted applications and hooks; `H3.prepare` checks all of it, compiles it into
what a backend serves (`h3py.app.prepared`), and freezes it, since a route added
to a running server would be silently absent.

Middleware runs in this order, whatever the order of registration of routes:
that of the application (``use``, in the order it was added), that of mounted
applications from the outside in, that of groups from the outside in, that of
the route. What was added with ``use`` is scoped by its prefix, so it also sees
requests that no route answers (404, 405, OPTIONS); what belongs to a group or
route sees that group's or route's requests only.

Owner: whoever builds the application, in one thread; read-only once prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, NamedTuple, TypeVar, Unpack, overload

from h3py.app.functions import Hook, Middleware, describe, kind_of
from h3py.app.paths import clean_prefix, parse_prefix
from h3py.app.prepared import PreparedApp, check_backend, compile_app
from h3py.app.static import StaticFiles, StaticOptions
from h3py.app.verbs import Declared, Verbs
from h3py.errors import ConfigError
from h3py.options import Backend

M = TypeVar("M", bound=Middleware)
K = TypeVar("K", bound=Hook)


class Scoped(NamedTuple):
    """A middleware and the prefix it is for."""

    prefix: str
    middleware: Callable[..., Any]


class Mounted(NamedTuple):
    """An application and the prefix it stands under."""

    prefix: str
    app: H3


class H3(Verbs):
    """An application: routes, middleware and what runs beside them.

    ::

        app = H3()

        @app.get("/hello/:name")
        def hello(event):
            return f"Hello, {event.params['name']}!"
    """

    def __init__(self) -> None:
        self.routes: list[Declared] = []
        self.scoped: list[Scoped] = []
        self.mounted: list[Mounted] = []
        self._start_hooks: list[Hook] = []
        self._stop_hooks: list[Hook] = []
        self._backgrounds: list[Hook] = []
        self._frozen = False

    @overload
    def use(self, prefix_or_middleware: M) -> M: ...
    @overload
    def use(self, prefix_or_middleware: str, middleware: M) -> M: ...
    @overload
    def use(self, prefix_or_middleware: str) -> Callable[[M], M]: ...
    def use(self, prefix_or_middleware: Any, middleware: Any = None) -> Any:
        """Add middleware: ``use(middleware)``, ``use("/api", middleware)``, or as a decorator.

        With a prefix it sees the requests at and below that path. See
        `h3py.app.lifecycle` for what a middleware may be.

        Raises:
            ConfigError: The prefix is not legal, or the application is being served.
            TypeError: The middleware cannot be called.
        """
        self._require_open()
        if not isinstance(prefix_or_middleware, str):
            if middleware is not None:
                raise TypeError("use(prefix, middleware): the prefix must be a str")
            return self._use("", prefix_or_middleware)
        prefix = prefix_or_middleware
        parse_prefix(prefix)
        if middleware is None:
            return lambda function: self._use(prefix, function)
        return self._use(prefix, middleware)

    def mount(self, prefix: str, app: H3) -> None:
        """Put another application, with its middleware and hooks, under a prefix.

        Raises:
            ConfigError: The prefix is not legal, the application would contain itself,
                or this one is being served.
        """
        self._require_open()
        parse_prefix(prefix)
        if not isinstance(app, H3):
            raise ConfigError(f"mount: {app!r} is not an H3 application")
        if self in _family(app):
            raise ConfigError("mount: an application cannot contain itself")
        self.mounted.append(Mounted(clean_prefix(prefix), app))

    def group(self, prefix: str = "", *, middleware: Sequence[Middleware] = ()) -> Group:
        """A view of this application under a prefix, whose routes share middleware.

        Raises:
            ConfigError: The prefix is not legal.
        """
        return Group(self, None, prefix, middleware)

    def static(
        self, prefix: str, directory: str | PathLike[str], **options: Unpack[StaticOptions]
    ) -> None:
        """Serve the files of a directory under a prefix. See `h3py.app.static.StaticFiles`.

        Raises:
            ConfigError: The directory does not exist, or an option is not legal.
        """
        self.get(f"{clean_prefix(prefix)}/**", StaticFiles(directory, **options))

    def on_start(self, function: K) -> K:
        """Run a function (plain or async, without arguments) before the first request."""
        return self._hook(self._start_hooks, function)

    def on_stop(self, function: K) -> K:
        """Run a function (plain or async, without arguments) after the last request."""
        return self._hook(self._stop_hooks, function)

    def background(self, function: K) -> K:
        """Run a function beside the server, from its start to its end.

        A task for an async function (trio backend), a thread for a plain one.
        """
        return self._hook(self._backgrounds, function)

    @property
    def start_hooks(self) -> tuple[Hook, ...]:
        """What `on_start` collected, mounted applications included, in the order to run."""
        return tuple(hook for app in _family(self) for hook in app._start_hooks)

    @property
    def stop_hooks(self) -> tuple[Hook, ...]:
        """What `on_stop` collected, in the order to run: the reverse of registration."""
        hooks = [hook for app in _family(self) for hook in app._stop_hooks]
        return tuple(reversed(hooks))

    @property
    def backgrounds(self) -> tuple[Hook, ...]:
        """What `background` collected, mounted applications included."""
        return tuple(hook for app in _family(self) for hook in app._backgrounds)

    def check(self, backend: Backend) -> None:
        """Check that a backend can run all of the application.

        Raises:
            ConfigError: Something async on the threads backend, naming each route,
                middleware and hook; or two handlers for one place.
        """
        compile_app(self, can_await=True, debug=False)
        check_backend(self, backend)

    def prepare(self, backend: Backend, *, debug: bool = False) -> PreparedApp:
        """Check, compile and freeze the application: what a backend serves.

        Args:
            backend: ``"trio"`` or ``"threads"``.
            debug: Show unexpected exceptions to the client.

        Raises:
            ConfigError: As `check`.
        """
        check_backend(self, backend)
        prepared = compile_app(self, can_await=backend == "trio", debug=debug)
        for app in _family(self):
            app._frozen = True
        return prepared

    def _declare(self, declared: Declared) -> None:
        self._require_open()
        self.routes.append(declared)

    def _use(self, prefix: str, middleware: M) -> M:
        kind_of(middleware)
        self.scoped.append(Scoped(clean_prefix(prefix), middleware))
        return middleware

    def _hook(self, hooks: list[Hook], function: K) -> K:
        self._require_open()
        if kind_of(function).is_stream:
            raise ConfigError(f"{describe(function)} is a generator: a hook is a plain function")
        hooks.append(function)
        return function

    def _require_open(self) -> None:
        if self._frozen:
            raise ConfigError("the application is being served: register everything before")


class Group(Verbs):
    """Routes of an application that share a prefix and middleware. Made by `H3.group`."""

    def __init__(
        self, app: H3, parent: Group | None, prefix: str, middleware: Sequence[Middleware]
    ) -> None:
        parse_prefix(prefix)
        self.app = app
        self.parent = parent
        self.prefix: str = (parent.prefix if parent else "") + clean_prefix(prefix)
        self._middleware: list[Callable[..., Any]] = []
        for function in middleware:
            self.use(function)

    @property
    def middleware(self) -> tuple[Callable[..., Any], ...]:
        """That of the groups around it, from the outside in, and its own."""
        return (*(self.parent.middleware if self.parent else ()), *self._middleware)

    def use(self, middleware: M) -> M:
        """Add middleware for the routes of this group; also a decorator."""
        self.app._require_open()
        kind_of(middleware)
        self._middleware.append(middleware)
        return middleware

    def group(self, prefix: str = "", *, middleware: Sequence[Middleware] = ()) -> Group:
        """A group within this one."""
        return Group(self.app, self, prefix, middleware)

    def _declare(self, declared: Declared) -> None:
        path = self.prefix + declared.path
        self.app._declare(replace(declared, path=path, group=self))


def _family(app: H3) -> list[H3]:
    """The application and all that are mounted in it, each once, outer ones first."""
    family = [app]
    for member in family:
        family.extend(item.app for item in member.mounted if item.app not in family)
    return family
