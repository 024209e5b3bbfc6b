"""What passes between an application and the backend that carries it.

The life of a request is written once, by the application, as a plain
generator. Where it needs something to run, it yields a step and is sent the
result (or has the exception thrown in); each backend knows how to perform the
steps and nothing else. So neither side is written twice, and a backend knows
no application: only the protocols below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from h3py.http import Request, Response
    from h3py.sse import StreamStart
    from h3py.sse.host import StreamHome


class Call(NamedTuple):
    """Run a plain function: on trio in a worker thread unless ``inline``, on threads right here."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    inline: bool = False


class Await(NamedTuple):
    """Await ``function(*args)``; only the trio backend can."""

    function: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...] = ()


Step = Call | Await


class Lifespan(NamedTuple):
    """What surrounds the serving: each part is run in order, one step after the other."""

    start: tuple[Step, ...] = ()
    """Before the first connection is accepted; an exception ends the server."""
    background: tuple[Step, ...] = ()
    """Beside the serving, each on its own; they end with the server."""
    stop: tuple[Step, ...] = ()
    """After the last connection has ended; an exception is logged."""


NO_LIFESPAN = Lifespan()


class Exchange(Protocol):
    """One request and its answer, as the backend sees them; owned by the backend."""

    @property
    def client(self) -> tuple[str, int] | None:
        """The peer's address, or None on a Unix socket."""

    @property
    def scheme(self) -> str:
        """``"http"`` or ``"https"``."""

    @property
    def cleanup_timeout_s(self) -> float:
        """How long a generator's clean-up may take once its stream has ended."""

    def start_sse(self, status: int, headers: Iterable[tuple[str, str]]) -> StreamStart:
        """Write the head of a stream now. The caller has checked that nothing was sent."""

    def park_sse(
        self, status: int, headers: Iterable[tuple[str, str]], home: StreamHome
    ) -> StreamStart:
        """Begin a stream that is parked at once, elsewhere, without anybody driving it."""

    def drive_here(self, start: StreamStart) -> None:
        """The calling task or thread writes the stream from now on."""

    def wait_body(self) -> None:
        """Block until a streamed body has more bytes, is complete, or has an error."""

    async def await_body(self) -> None:
        """The same, for a task."""


class Application(Protocol):
    """What a backend serves."""

    def wants_stream(self, request: Request) -> bool:
        """Whether the request's body is to be handed over in pieces."""

    def respond(
        self, request: Request, exchange: Exchange
    ) -> Generator[Step, Any, Response | None]:
        """The life of one request; returns the response, or None when it became a stream."""
