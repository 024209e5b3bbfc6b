"""Serving: an application, a backend and options, tied together.

``serve`` blocks and handles signals; ``serve_trio`` is a task of a program that
runs trio already; ``running`` serves in a background thread, for scripts and
tests. All three end the same way: ``Server.shutdown()``, a drain to its
deadline, everything joined.
"""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import trio

from h3py.app.functions import needs_trio
from h3py.backends.steps import Await, Call, Lifespan, Step
from h3py.backends.thread_backend import serve_on_threads
from h3py.backends.trio_backend import serve_on_trio
from h3py.backends.trio_server import TrioServer
from h3py.errors import ConfigError
from h3py.options import ServeOptions

if TYPE_CHECKING:
    from h3py.app import H3
    from h3py.backends.server import Server

# The first of these asks for a graceful end, the second for an immediate one.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    app: H3,
    options: ServeOptions | None = None,
    *,
    started: Callable[[Server], None] | None = None,
    **changes: Any,
) -> None:
    """Serve an application until SIGTERM, SIGINT or ``Server.shutdown()``.

    Args:
        app: The application; it cannot be changed any more afterwards.
        options: All options at once.
        started: Called once with the `Server` when it accepts connections, to say where
            (``server.url``) or to keep it; must not block.
        **changes: Any field of ``ServeOptions``: ``backend="trio"`` or ``"threads"``,
            ``host``, ``port``, ... They win over ``options``.

    Raises:
        ConfigError: An option that cannot be, an address in use, a certificate that
            cannot be read, an ``async`` handler on the threads backend.
    """
    _serve(app, ServeOptions.build(options, changes), started or (lambda server: None))


async def serve_trio(
    app: H3,
    options: ServeOptions | None = None,
    *,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    **changes: Any,
) -> None:
    """Serve as a task: ``server = await nursery.start(serve_trio, app)``. No signals are handled.

    Cancelling it ends the server at once; ``server.shutdown()`` ends it gracefully.

    Raises:
        ConfigError: As ``serve``; also for ``backend="threads"``.
    """
    options = ServeOptions.build(options, changes)
    if options.backend != "trio":
        raise ConfigError("serve_trio serves on the trio backend only")
    prepared = app.prepare("trio", debug=options.debug)
    await serve_on_trio(prepared, options, _lifespan(app), task_status=task_status)


@contextlib.contextmanager
def running(app: H3, options: ServeOptions | None = None, **changes: Any) -> Iterator[Server]:
    """Serve in a background thread while the ``with`` block runs; gives the ``Server``.

    The port is chosen by the system unless one is given. Leaving the block shuts the
    server down gracefully and waits for it.

    Raises:
        ConfigError: As ``serve``.
    """
    if options is None:
        changes = {"port": 0, "drain_timeout_s": 2.0} | changes
    built = ServeOptions.build(options, changes | {"handle_signals": False})
    background = _Background(app, built)
    server = background.start()
    try:
        yield server
    finally:
        server.shutdown()
        background.join()


class _Background:
    """A server in a thread, and whatever it raises brought back to its starter."""

    def __init__(self, app: H3, options: ServeOptions) -> None:
        self._app = app
        self._options = options
        self._settled = threading.Event()
        self._server: Server | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run,),
            name="h3py-server",
            daemon=True,
        )

    def start(self) -> Server:
        self._thread.start()
        self._settled.wait()
        if self._server is None:
            self.join()
        assert self._server is not None
        return self._server

    def join(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            _serve(self._app, self._options, self._started)
        except BaseException as error:  # noqa: BLE001  # raised again by join
            self._error = error
        finally:
            self._settled.set()

    def _started(self, server: Server) -> None:
        self._server = server
        self._settled.set()


def _serve(app: H3, options: ServeOptions, started: Callable[[Server], None]) -> None:
    prepared = app.prepare(options.backend, debug=options.debug)
    lifespan = _lifespan(app)
    signals = options.handle_signals and threading.current_thread() is threading.main_thread()
    if options.backend == "threads":
        with contextlib.ExitStack() as stack:

            def begun(server: Server) -> None:
                if signals:
                    stack.enter_context(_stopping_on_signals(server))
                started(server)

            serve_on_threads(prepared, options, lifespan, started=begun)
        return

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server: TrioServer = await nursery.start(serve_on_trio, prepared, options, lifespan)
            with _stopping_on_signals(server) if signals else contextlib.nullcontext():
                started(server)
                await server.ended.wait()

    _unwrapped(main)


def _unwrapped(main: Callable[[], Any]) -> None:
    """Run trio; a single error leaves as itself, not as a group of one."""
    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from None


@contextlib.contextmanager
def _stopping_on_signals(server: Server) -> Iterator[None]:
    """The first signal shuts the server down, the second forces it; restored afterwards."""
    asked = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            server.force()
        else:
            asked = True
            server.shutdown()

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lifespan(app: H3) -> Lifespan:
    def steps(hooks: tuple[Callable[..., Any], ...]) -> tuple[Step, ...]:
        return tuple(Await(hook) if needs_trio(hook) else Call(hook) for hook in hooks)

    return Lifespan(steps(app.start_hooks), steps(app.backgrounds), steps(app.stop_hooks))
