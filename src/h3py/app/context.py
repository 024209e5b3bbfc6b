"""One `contextvars.Context` for each request, entered by every piece of the application.

Theory. A context variable that a middleware sets must be seen by all that runs
later for the same request (middleware, handler, generator, callback; in the
task or in a worker thread) and by nothing that runs for the next request of
the same connection. A task's own context cannot give that: it lasts as long as
the connection, trio swaps it only at a checkpoint, and a variable cannot be
unset again from outside. So the request has a context of its own, and whatever
the application wrote runs *inside* it:

- a plain function: ``context.run(function)``, in whichever thread the backend
  chose;
- a coroutine: `run_async`, an awaitable that takes each step of the coroutine
  inside the context and leaves it at every suspension. Between steps the task
  is in its own context, so nothing has to be put back, and a worker thread may
  enter the request's context while the task waits for it. Tasks started and
  threads entered by the coroutine inherit the request's context, because it is
  the current one when they are started.

One exception inside `run_async`: `trio.from_thread.run` may put a *copy* of the
request's context (with what the thread has set) under the waiting task, and
means its function to see that one. A marker variable, set at the coroutine's
first suspension, shows that the current context descends from the request's;
then the step is taken right there.

Rules. A context can be entered once at a time, so the pieces of one request
run one after the other; what runs beside them (a close callback, say) takes
`side_context`. A piece that was abandoned in its thread still holds the
context: `renew` gives the request a copy, and the rest runs in that.

Owner: the event. Touched by the thread that runs a piece, one at a time. Ends
with the event.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from h3py.backends.steps import Await, Call

if TYPE_CHECKING:
    from h3py.app.event import H3Event

T = TypeVar("T")

_driven_by: ContextVar[object] = ContextVar("h3py_driven_by")


def call_in(event: H3Event, function: Callable[..., Any], *args: Any) -> Call:
    """The step that runs ``function(*args)`` in the request's context, where it may block."""
    return Call(event._context.run, (function, *args))


def await_in(event: H3Event, function: Callable[..., Awaitable[Any]], *args: Any) -> Await:
    """The step that awaits ``function(*args)`` in the request's context."""
    return Await(run_async, (event._context, function, *args))


def run_in(event: H3Event, function: Callable[..., T], *args: Any) -> T:
    """Run ``function(*args)`` in the request's context now, in this thread; it must not block."""
    return event._context.run(function, *args)


def side_context(event: H3Event) -> Context:
    """A copy of the request's context, for what may run at the same time as its pieces."""
    return event._context.copy()


def renew(event: H3Event) -> None:
    """Give the request a copy of its context: an abandoned thread may hold the present one."""
    event._context = event._context.copy()


@types.coroutine
def run_async(
    context: Context, function: Callable[..., Awaitable[Any]], *args: Any
) -> Generator[Any, Any, Any]:
    """Await ``function(*args)`` with every step of it inside ``context``."""
    awaitable = context.run(function, *args)
    coroutine: Any = (
        awaitable
        if awaitable.__class__ is types.CoroutineType or hasattr(awaitable, "send")
        else _as_coroutine(awaitable)
    )
    try:
        trap = context.run(coroutine.send, None)
    except StopIteration as done:
        return done.value
    marker = object()
    context.run(_driven_by.set, marker)
    received: Any
    while True:
        try:
            received = yield trap
        except GeneratorExit:
            context.run(coroutine.close)
            raise
        except BaseException as error:  # noqa: BLE001  # all of it is the coroutine's to see
            resume, received = coroutine.throw, error
        else:
            resume = coroutine.send
        try:
            if _driven_by.get(None) is marker:
                trap = resume(received)
            else:
                trap = context.run(resume, received)
        except StopIteration as done:
            return done.value
        finally:
            received = None  # an exception here would hold this frame, and this frame it


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
