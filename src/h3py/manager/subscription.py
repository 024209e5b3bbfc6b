"""``Subscription``: one stream's place with a manager.

``SSEManager.subscribe`` makes it: checked, and nothing more. The stream begins when
the backend is given the subscription by the handler's return (``__h3_attach__``), or
at once where the handler has begun it before:

    reserve a place (limits) -> head -> present -> park in the hub's engine -> join groups

Groups, replay and everything after are one step of the engine's, so nothing that is
published meanwhile is missed or comes twice. From then on the engine serves the
stream; what stays of it in Python is this object and the ``Stream``.

Owner: the hub's registry, until the engine's report of the end (``stream_left``). It
is the stream's *home*. Every method may be called from any thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from h3py.close_reason import CloseReason
from h3py.errors import AllocationError, ConnectionClosed, ManagerClosed, NotStreamingMode
from h3py.manager.events import check_names
from h3py.sse.host import StreamState
from h3py.sse.operations import StreamOperations

if TYPE_CHECKING:
    from h3py._speedups.engine import Engine
    from h3py.app import H3Event
    from h3py.manager.filters import Accepts
    from h3py.manager.hub import Hub
    from h3py.manager.options import Policy
    from h3py.sse import StreamStart
    from h3py.sse.stream import Stream

# Streams that began together are not to end together.
AGE_JITTER = 0.2


class Plan(NamedTuple):
    """How a subscription is to be served; forgotten once it is."""

    channels: tuple[str, ...]
    where: Mapping[str, Iterable[str]] | Accepts | None
    policy: Policy
    notices: bool
    last_event_id: str | None
    ends_in_s: float | None
    """Seconds until the credentials expire."""


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
        connected_at: Seconds since the epoch; 0.0 before the stream began.
    """

    __slots__ = (
        "_function", "_plan", "client_id", "connected_at", "hub", "metadata", "present",
        "principal", "user_id",
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
        self.connected_at = 0.0
        self.present = False
        self._plan: Plan | None = plan
        self._function: Accepts | None = None

    # -- for the application ---------------------------------------------------------

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels it is in now."""
        if self._plan is not None:
            return self._plan.channels
        return self.hub.channels_of(self)

    def join(self, *channels: str) -> None:
        """Join more channels, from now on.

        Raises:
            NotStreamingMode: The stream has not begun.
            ConnectionClosed: It is ending, or has ended.
            ValueError, TypeError: What is no channel's name, or too many.
        """
        names = check_names("channel", channels, self.hub.options.max_name_bytes)
        have = set(self.channels)
        if len(have.union(names)) > self.hub.options.max_channels:
            raise ValueError(f"a stream can be in {self.hub.options.max_channels} channels")
        self.engine.join(self._stream.handle, channels=names)

    def leave(self, *channels: str) -> None:
        """Leave channels, from now on; what was published to them before still comes.

        Raises:
            NotStreamingMode: The stream has not begun.
            TypeError: What is no name.
        """
        self.engine.leave(self._stream.handle, channels=channels)

    def ping(self) -> None:
        """The client has said that it is there: its lease begins anew."""
        self.engine.touch(self._stream.handle)

    # -- for the backend: the handler has returned this ------------------------------

    def __h3_attach__(self, event: H3Event) -> None:
        """Begin the stream of ``event`` and serve it; nothing where that is done.

        Raises:
            HTTPError: A limit is reached; nothing was sent.
            ManagerClosed: The manager has been closed; nothing was sent.
        """
        if self._plan is None:
            return
        replaced = self.hub.registry.reserve(self)
        try:
            self.hub.check_open()
            start = event.park_sse(self)
        except BaseException:
            self.hub.registry.remove(self)
            raise
        self._serve(start._stream, replaced)

    def attach(self, start: StreamStart) -> None:
        """Serve a stream that its handler has begun; from its driver."""
        stream = start._stream
        if stream.home is not None or stream.state is not StreamState.DRIVEN:
            raise stream.refusal("it is parked already")
        replaced = self.hub.registry.reserve(self)
        stream.home = self
        self._serve(stream, replaced)

    def _serve(self, stream: Stream, replaced: Subscription | None) -> None:
        assert self._plan is not None
        plan = self._plan
        self._stream = stream
        self.connected_at = time.time()
        if stream.state is StreamState.ENDED:
            self._plan = None
            self.hub.registry.remove(self)  # its head was all (HEAD)
            return
        self.hub.registry.present(self)
        stream.park()
        self._plan = None
        if replaced is not None:
            replaced._stream.end(CloseReason.REPLACED)
        try:
            self._function = self.hub.join_groups(self, plan)
        except ConnectionClosed:
            return  # it has ended meanwhile, which the engine's report tells
        except ManagerClosed:
            stream.end(CloseReason.SHUTDOWN)
        except AllocationError:
            stream.end(CloseReason.LIMIT)
            raise

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
        terms: dict[str, Any] = {"policy": plan.policy, "lease_s": options.lease_s}
        age_s = options.max_age_s
        if age_s is not None:
            age_s *= random.uniform(1 - AGE_JITTER, 1)
        if plan.ends_in_s is not None and (age_s is None or plan.ends_in_s < age_s):
            age_s = plan.ends_in_s
            terms["age_reason"] = CloseReason.AUTH_EXPIRED.code
        terms["max_age_s"] = age_s
        return terms

    def stream_left(self, stream: Stream) -> None:
        """Its stream has ended."""
        self.hub.registry.remove(self)
        if self._function is not None:
            self.hub.filters.give_back(self._function)
            self._function = None

    def __repr__(self) -> str:
        state = self._stream.close_reason or ("waiting" if self._plan else "open")
        return f"<Subscription {self.client_id} of {self.user_id}, {state}>"
