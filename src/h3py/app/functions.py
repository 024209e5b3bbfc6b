"""What kinds of functions an application may register, and what each may return.

Rules. A handler, a middleware or an ``authorize`` is called with the event and
nothing else. Its kind is read once, when it is registered, and decides how the
life of a request runs it:

=================  ==========================================================
PLAIN              ``def``: may block; a worker thread on the trio backend
INLINE             ``def`` marked with `inline`: called right where the request
                   is served, on the trio loop too, so it must not block
COROUTINE          ``async def``: the trio backend only
GENERATOR          ``def`` with ``yield``
ASYNC_GENERATOR    ``async def`` with ``yield``: the trio backend only
=================  ==========================================================

Pure functions, usable from any thread.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from h3py._speedups.format import SSEEvent
    from h3py.app.event import H3Event
    from h3py.http import Response
    from h3py.sse import StreamStart

F = TypeVar("F", bound=Callable[..., Any])


class Attachable(Protocol):
    """A value that takes the stream over when a handler returns it, such as a subscription."""

    def __h3_attach__(self, event: H3Event, /) -> Any:
        """Take the event's stream over."""


class DataclassInstance(Protocol):
    """Any instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


ResponseValue: TypeAlias = (
    "Response | str | bytes | bytearray | memoryview | Mapping[Any, Any] | list[Any] "
    "| msgspec.Struct | DataclassInstance | None"
)
"""What becomes a plain response: see `h3py.app.response.to_response`."""

StreamItem: TypeAlias = "SSEEvent | str | bytes"
"""What a generator handler yields."""

Handler: TypeAlias = (
    "Callable[[H3Event], ResponseValue | Attachable | StreamStart] "
    "| Callable[[H3Event], Awaitable[ResponseValue | Attachable | StreamStart]] "
    "| Callable[[H3Event], Iterator[StreamItem]] "
    "| Callable[[H3Event], AsyncIterator[StreamItem]]"
)
"""A handler: plain or async, returning a response or a stream, or a generator of events."""

Middleware: TypeAlias = (
    "Callable[[H3Event], ResponseValue] "
    "| Callable[[H3Event], Awaitable[ResponseValue]] "
    "| Callable[[H3Event], Generator[ResponseValue, Response | None, ResponseValue]] "
    "| Callable[[H3Event], AsyncGenerator[ResponseValue, Response | None]]"
)
"""A middleware: see `h3py.app.lifecycle`."""

Authorize: TypeAlias = "Callable[[H3Event], Any]"
"""Gives the principal of a request, or raises ``HTTPError``: see `h3py.app.lifecycle`."""

Hook: TypeAlias = "Callable[[], object] | Callable[[], Awaitable[object]]"
"""A function without arguments, run by the server."""


class Kind(Enum):
    """How a function is run."""

    PLAIN = auto()
    INLINE = auto()
    COROUTINE = auto()
    GENERATOR = auto()
    ASYNC_GENERATOR = auto()

    @property
    def is_async(self) -> bool:
        """Whether only the trio backend can run it."""
        return self is Kind.COROUTINE or self is Kind.ASYNC_GENERATOR

    @property
    def is_stream(self) -> bool:
        """Whether calling it gives a generator."""
        return self is Kind.GENERATOR or self is Kind.ASYNC_GENERATOR


def inline(function: F) -> F:
    """Mark a ``def`` function that never blocks: it is called on the spot, without a thread.

    For handlers, middleware (generators too) and ``authorize``. On the trio
    backend such a function runs on the event loop, and whatever it waits for,
    everybody waits for.

    Raises:
        TypeError: The function is async: it runs on the loop anyway.
    """
    if kind_of(function).is_async:
        raise TypeError(f"{describe(function)} is async: @inline is for plain functions")
    function.__h3_inline__ = True  # type: ignore[attr-defined]  # any callable takes attributes
    return function


def is_inline(function: Callable[..., Any]) -> bool:
    """Whether a function, or the class of a callable object, is marked as never blocking."""
    called = getattr(type(function), "__call__")  # noqa: B004, B009  # as in kind_of
    return any(getattr(item, "__h3_inline__", False) is True for item in (function, called))


def kind_of(function: Callable[..., Any]) -> Kind:
    """The kind of a function, method, partial or callable object.

    Raises:
        TypeError: It cannot be called.
    """
    if not callable(function):
        raise TypeError(f"{function!r} is not callable")
    candidates = [function, getattr(type(function), "__call__")]  # noqa: B004, B009  # not bound
    for candidate in candidates:
        if inspect.isasyncgenfunction(candidate):
            return Kind.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(candidate):
            return Kind.COROUTINE
        if inspect.isgeneratorfunction(candidate):
            return Kind.GENERATOR
    return Kind.INLINE if is_inline(function) else Kind.PLAIN


def needs_trio(function: Callable[..., Any]) -> bool:
    """Whether a function is async, or a plain one that wraps an async one."""
    return kind_of(function).is_async or kind_of(inspect.unwrap(function)).is_async


def describe(function: Callable[..., Any]) -> str:
    """A function's name with its module, for messages."""
    named: Any = function
    while hasattr(named, "func"):  # a partial says what it calls
        named = named.func
    name = getattr(named, "__qualname__", None) or type(named).__qualname__
    module = getattr(named, "__module__", None)
    return f"{module}.{name}" if module else str(name)


def is_stream(value: object) -> bool:
    """Whether a handler's return value is to be streamed or attached, not sent as a response."""
    return isinstance(value, Generator | AsyncGenerator) or hasattr(value, "__h3_attach__")


def is_context_manager(value: object) -> bool:
    """Whether a value was made by a function under ``contextlib.contextmanager``."""
    # Both bases: a principal that merely can be entered is left alone.
    return isinstance(value, contextlib.ContextDecorator) and isinstance(
        value, contextlib.AbstractContextManager
    )


def is_async_context_manager(value: object) -> bool:
    """Whether a value was made by a function under ``contextlib.asynccontextmanager``."""
    return isinstance(value, contextlib.AsyncContextDecorator) and isinstance(
        value, contextlib.AbstractAsyncContextManager
    )
