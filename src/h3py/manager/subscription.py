"""``Subscription``: one stream's place with a manager.

``SSEManager.subscribe`` makes it: checked, and nothing more. The stream begins when
the backend is given the subscription by the handler's return (``__h3_attach__``), or
at once where the handler has begun it before (``attach``):

    reserve a place (limits) -> head -> park in the hub's engine -> join groups, present

Groups, replay and everything after are one step of the engine's, so nothing that is
published meanwhile is missed or comes twice. From then on the engine serves the
stream; what stays of it in Python is this object and the ``Stream``.

Owner: the hub's registry, until the engine's report of the end (``stream_left``). It
is the stream's *home* until then. Every method may be called from any thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from h3py._speedups.format import format_event
from h3py.close_reason import CloseReason
from h3py.errors import (
    AllocationError,
    ConnectionClosed,
    HTTPError,
    ManagerClosed,
    NotStreamingMode,
    SSEAlreadyStarted,
)
from h3py.http import encode_chunk
from h3py.manager.events import check_names
from h3py.manager.options import MAX_AGE_S
from h3py.sse.host import StreamState
from h3py.sse.operations import Item, StreamOperations, to_event

if TYPE_CHECKING:
    from h3py._speedups.engine import Engine
    from h3py.app import H3Event
    from h3py.manager.filters import Accepts, Condition
    from h3py.manager.hub import Hub
    from h3py.manager.options import Policy
    from h3py.sse.stream import Stream

# Streams that began together are not to end together.
AGE_JITTER = 0.2


class Plan(NamedTuple):
    """How a subscription is to be served; forgotten once it is."""

    channels: tuple[str, ...]
    where: Condition | Accepts | None
    policy: Policy
    notices: bool
    last_event_id: str | None
    ends_in_s: float | None
    """Seconds until the credentials expire."""
    opening: tuple[bytes, ...] = ()
    """Events that leave with the head, ready to send."""
    joins_at: int | None = None
    """Where the log stood when they were made: what was published since comes after them."""


class _Unattached:
    """The stream of a subscription that has none yet."""

    closed = False
    close_reason = None
    event_count = 0
    last_event_id = None
    queued_bytes = 0
    label = "(not attached)"
    state = StreamState.DRIVEN

    def __getattr__(self, name: str) -> Any:
        raise NotStreamingMode("the subscription has no stream yet: return it from the handler")


_UNATTACHED: Any = _Unattached()


class Subscription(StreamOperations):
    """A stream that a manager serves; made by ``SSEManager.subscribe``.

    Besides what is below it has what every stream has: ``send_event_nowait``,
    ``send_comment``, ``close``, ``closed``, ``close_reason``, ``on_close``, ...

    Attributes:
        client_id: Names this stream; unique among those that are open.
        user_id: Whose it is, or None.
        metadata: What ``subscribe`` was given.
        principal: Who opened it, as the route's ``authorize`` said; or None.
    """

    __slots__ = (
        "_function", "_plan", "client_id", "hub", "metadata", "present", "principal", "user_id",
    )  # fmt: skip

    def __init__(
        self,
        hub: Hub,
        client_id: str,
        user_id: str | None,
        metadata: Mapping[str, Any] | None,
        principal: Any,
        plan: Plan,
    ) -> None:
        super().__init__(_UNATTACHED)
        self.hub = hub
        self.client_id = client_id
        self.user_id = user_id
        self.metadata = metadata
        self.principal = principal
        self.present = False
        self._plan: Plan | None = plan
        self._function: Accepts | None = None

    # -- for the application ---------------------------------------------------------

    @property
    def connected_at(self) -> float:
        """When the stream began, in seconds since the epoch, to the millisecond.

        Raises:
            NotStreamingMode: It has not.
        """
        stream = self._stream
        return round(time.time() - (stream.host.now() - stream.opened_at), 3)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels it is in now; none once its stream has ended."""
        plan = self._plan
        return self.hub.channels_of(self) if plan is None else plan.channels

    def begin_with(self, item: Item, *, joins_at: int | None = None) -> None:
        """Have an event sent with the head, before all others, those of a replay included.

        Args:
            item: The event.
            joins_at: Where the log stood (``hub.engine.head``) when it was made, if it tells the
                client that it begins there: where there is history, what was published since
                comes to it. None: from the joining on.

        Raises:
            SSEAlreadyStarted: The stream has begun.
        """
        if self._plan is None:
            raise SSEAlreadyStarted("the stream has begun: it is too late for its first event")
        opening = (*self._plan.opening, format_event(to_event(item)))
        self._plan = self._plan._replace(opening=opening, joins_at=joins_at)

    def join(self, *channels: str) -> None:
        """Join more channels, from now on.

        Raises:
            NotStreamingMode: The stream has not begun.
            ConnectionLost, WriterClosed: It is ending, or has ended.
            ManagerClosed: The manager is closing.
            ValueError, TypeError: What is no channel's name, or too many.
        """
        hub = self.hub
        handle = self._stream.handle
        names = check_names("channel", channels, hub.options.max_name_bytes)
        with hub.joining:
            if len({*self.channels, *names}) > hub.options.max_channels:
                raise ValueError(f"a stream can be in {hub.options.max_channels} channels at most")
            try:
                hub.engine.join(handle, channels=names)
            except ConnectionClosed as error:
                raise self._stream.refusal(str(error)) from error

    def leave(self, *channels: str) -> None:
        """Leave channels, from now on; what was published to them before still comes.

        Raises:
            NotStreamingMode: The stream has not begun.
            ValueError, TypeError: What is no channel's name.
        """
        handle = self._stream.handle
        names = check_names("channel", channels, self.hub.options.max_name_bytes)
        self.hub.engine.leave(handle, channels=names)

    def ping(self) -> None:
        """The client has said that it is there: its lease begins anew."""
        self.engine.touch(self._stream.handle)

    # -- for the backend: the handler has returned this ------------------------------

    def __h3_attach__(self, event: H3Event) -> None:
        """Begin the stream of ``event`` and serve it; nothing where that is done.

        Raises:
            HTTPError: A limit is reached, or the manager is closing; nothing was sent.
        """
        if self._plan is None:
            return
        self.hub.registry.reserve(self)
        try:
            self.hub.check_open()
            where = self._ask_where()
            start = event.park_sse(self)
        except ManagerClosed as error:
            self._give_up()
            retry = str(self.hub.options.retry_after_s)
            raise HTTPError(503, str(error), headers={"retry-after": retry}) from error
        except BaseException:
            self._give_up()
            raise
        self._serve(start._stream, where)

    def attach(self, stream: Stream) -> None:
        """Serve a stream that its handler has begun; from its driver. Raises as ``subscribe``."""
        if stream.state is StreamState.ENDED:
            self._plan = None  # its head was all (HEAD)
            self._stream = stream
            return
        if stream.home is not None or stream.state is not StreamState.DRIVEN:
            raise SSEAlreadyStarted("subscribe: the stream is parked already")
        self.hub.registry.reserve(self)
        try:
            self.hub.check_open()
            where = self._ask_where()
        except BaseException:
            self._give_up()
            raise
        stream.home = self
        self._serve(stream, where)

    def _ask_where(self) -> tuple[Condition | None, int]:
        """The condition as the engine takes it, and since when events can be compared with it."""
        assert self._plan is not None
        where = self._plan.where
        if not callable(where):
            return where, 0
        taken = self.hub.filters.take(where)
        # Before the stream can end: whoever ends it gives the function back.
        self._function = where
        return taken

    def _serve(self, stream: Stream, where: tuple[Condition | None, int]) -> None:
        plan = self._plan
        assert plan is not None
        hub = self.hub
        self._stream = stream
        if stream.state is StreamState.ENDED:
            self._plan = None  # its head was all (HEAD)
            self._give_up()
            return
        connection = stream.connection
        if connection is not None:
            for event in plan.opening:
                # As the head itself: the limits are for what follows.
                piece = encode_chunk(event) if connection.chunked else event
                connection.queue.append_end(piece)
        try:
            stream.park()
        except (ManagerClosed, ConnectionClosed):
            # The server, or the hub, has begun to end meanwhile.
            stream.finish(CloseReason.SHUTDOWN)
            return
        except BaseException:
            if not stream.closed:
                stream.home = None
                self._give_up()
            raise  # one that has ended lets go of this when its driver lets go of it
        try:
            self._plan = None
            replaced = hub.registry.take_over(self)
            if replaced is not None:
                replaced._stream.end(CloseReason.REPLACED)
            if not hub.registry.admit(self, partial(hub.join_groups, stream, self, plan, where)):
                stream.end(CloseReason.REPLACED)
        except ConnectionClosed:
            return  # it has ended meanwhile, which the engine's report tells
        except ManagerClosed:
            stream.end(CloseReason.SHUTDOWN)
        except BaseException as error:
            failed = isinstance(error, AllocationError)
            stream.end(CloseReason.LIMIT if failed else CloseReason.ERROR)
            raise
        if hub.has_left(stream.host):
            stream.end(CloseReason.SHUTDOWN)  # its server's look at its streams missed this one

    def _give_up(self) -> None:
        """Its place and its function are given back; once, whoever comes first."""
        with self.hub.joining:
            function, self._function = self._function, None
        if function is not None:
            self.hub.filters.give_back(function)
        orphan = self.hub.registry.remove(self)
        # One that has no stream yet finds out itself, when it would be admitted.
        if orphan is not None and orphan._stream is not _UNATTACHED:
            orphan._stream.end(CloseReason.REPLACED)

    # -- the home of the stream ------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine that serves it."""
        return self.hub.engine

    @property
    def terms(self) -> dict[str, Any]:
        """What the engine is told at adoption."""
        plan, options = self._plan, self.hub.options
        assert plan is not None
        terms: dict[str, Any] = {"policy": plan.policy, "lease_s": options.lease_s, "held": True}
        age_s = options.max_age_s
        if age_s is not None:
            age_s *= random.uniform(1 - AGE_JITTER, 1)
        if plan.ends_in_s is not None and (age_s is None or plan.ends_in_s < age_s):
            age_s = plan.ends_in_s
            terms["age_reason"] = CloseReason.AUTH_EXPIRED.code
        terms["max_age_s"] = None if age_s is None else min(age_s, MAX_AGE_S)
        return terms

    def stream_left(self, stream: Stream) -> None:
        """Its stream has ended."""
        # No cycle keeps the two alive. The handle first: it means nothing to another engine.
        stream.handle = 0
        stream.home = None
        self._give_up()

    def __repr__(self) -> str:
        state = self._stream.close_reason or ("waiting" if self._plan else "open")
        return f"<Subscription {self.client_id} of {self.user_id}, {state}>"
