"""Who is connected: subscriptions by client and by user, and the limits on them.

A subscription is *reserved* (it counts), then *present* (its stream follows its
channels, and the application was told), then removed, once, by the end of its stream.
What can never become present is removed without a word. Channels are not here:
memberships live in the engine alone.

A client that comes again takes over its name at once, and its older stream ends when
the new one has begun; where the new one cannot begin, the older one has its name back.

Owner: the hub; any thread, under its lock. Nothing of the application runs under that
lock. One thing of the engine's does, joining groups: what is told of a stream comes in
the order in which it happens.

A user with one stream has no set of streams: most have one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from h3py.errors import HTTPError

if TYPE_CHECKING:
    from h3py.manager.options import ManagerOptions
    from h3py.manager.presence import Presence
    from h3py.manager.subscription import Subscription


class Registry:
    """The tables, and what they tell of presence."""

    def __init__(self, options: ManagerOptions, presence: Presence) -> None:
        self._options = options
        self._presence = presence
        self._lock = threading.RLock()  # a signal handler may ask who is connected
        self._clients: dict[str, Subscription] = {}
        self._users: dict[str, Subscription | set[Subscription]] = {}
        # Those whose name another one has taken, until their streams have ended.
        self._replaced: set[Subscription] = set()
        # From whom a reserved one has taken its name.
        self._takes_over: dict[Subscription, Subscription] = {}

    def reserve(self, new: Subscription) -> None:
        """Count a subscription in, and give it its client's name.

        Raises:
            HTTPError: 429: the user has as many streams as one may. 409: the client id is
                somebody else's.
        """
        with self._lock:
            old = self._clients.get(new.client_id)
            if old is not None and not _same_owner(old, new):
                raise HTTPError(409, "the client id is in use")
            if new.user_id is not None:
                self._check_user(new.user_id, old)
                self._add_to_user(new.user_id, new)
            self._clients[new.client_id] = new
            if old is not None:
                self._replaced.add(old)
                self._takes_over[new] = old

    def take_over(self, new: Subscription) -> Subscription | None:
        """The stream of the same client that is to end, now that this one has begun."""
        with self._lock:
            old = self._takes_over.pop(new, None)
            # One that is not present finds out itself, when it would be.
            return old if old is not None and old.present else None

    def admit(self, subscription: Subscription, join: Callable[[], object]) -> bool:
        """Let a stream that has begun follow its channels, and tell the application.

        Args:
            subscription: A reserved one.
            join: Joins its groups; what it raises is raised here, and nothing is told.

        Returns:
            False: another one has taken its name, and it is to end.
        """
        with self._lock:
            if subscription in self._replaced:
                return False
            if self._clients.get(subscription.client_id) is not subscription:
                return True  # it has ended already
            join()
            subscription.present = True
            self._presence.tell("connect", subscription)
            user = subscription.user_id
            if user is not None and not self._others_present(user, subscription):
                self._presence.tell("user_online", user)
        return True

    def remove(self, subscription: Subscription) -> Subscription | None:
        """Its stream has ended, or cannot begin; nothing if it was removed before.

        Returns:
            A stream that was to end when this one had begun, and is to end now.
        """
        with self._lock:
            old = self._takes_over.pop(subscription, None)
            if old not in self._replaced:
                old = None
            client = subscription.client_id
            if self._clients.get(client) is subscription:
                del self._clients[client]
                if old is not None:
                    self._clients[client] = old
                    self._replaced.discard(old)
                    old = None
            elif subscription not in self._replaced:
                return None
            self._replaced.discard(subscription)
            user = subscription.user_id
            if user is not None:
                self._drop_from_user(user, subscription)
            if subscription.present:
                subscription.present = False
                self._presence.tell("disconnect", subscription, subscription.close_reason)
                if user is not None and not self._others_present(user, subscription):
                    self._presence.tell("user_offline", user)
        return old

    def was_reset(self, subscription: Subscription) -> None:
        """The client was told that it has lost events: the application is told."""
        with self._lock:
            if subscription.present:
                self._presence.tell("reset", subscription)

    def client(self, client_id: str) -> Subscription | None:
        """The subscription of a client, if it is present."""
        found = self._clients.get(client_id)
        if found is not None and not found.present:
            with self._lock:  # what is in its groups already is being admitted
                pass
        return found if found is not None and found.present else None

    def of_user(self, user_id: str) -> list[Subscription]:
        """The subscriptions of a user that are present."""
        with self._lock:
            return [found for found in self._of_user(user_id) if found.present]

    def all(self) -> list[Subscription]:
        """Every subscription: those that are being replaced, and the reserved, included."""
        with self._lock:
            return [*self._clients.values(), *self._replaced]

    @property
    def counts(self) -> tuple[int, int]:
        """How many streams, and how many users."""
        with self._lock:
            return len(self._clients) + len(self._replaced), len(self._users)

    # -- with the lock held ----------------------------------------------------------

    def _check_user(self, user_id: str, old: Subscription | None) -> None:
        """Refuse a stream more than a user may have; those that are about to end do not count."""
        most = self._options.max_streams_per_user
        if most is None:
            return
        others = sum(
            not (other is old or other in self._replaced or other.closed)
            for other in self._of_user(user_id)
        )
        if others >= most:
            raise HTTPError(
                429,
                f"this user has {most} streams already",
                headers={"retry-after": str(self._options.retry_after_s)},
            )

    def _of_user(self, user_id: str) -> Iterator[Subscription]:
        found = self._users.get(user_id)
        if isinstance(found, set):
            yield from found
        elif found is not None:
            yield found

    def _add_to_user(self, user_id: str, new: Subscription) -> None:
        found = self._users.get(user_id)
        if found is None:
            self._users[user_id] = new
        elif isinstance(found, set):
            found.add(new)
        else:
            self._users[user_id] = {found, new}

    def _drop_from_user(self, user_id: str, old: Subscription) -> None:
        found = self._users.get(user_id)
        if found is old:
            del self._users[user_id]
        elif isinstance(found, set):
            found.discard(old)
            if len(found) == 1:
                self._users[user_id] = found.pop()

    def _others_present(self, user_id: str, subscription: Subscription) -> bool:
        return any(other.present and other is not subscription for other in self._of_user(user_id))


def _same_owner(old: Subscription, new: Subscription) -> bool:
    """Whether a client's two streams are of one and the same user.

    A user is known by name: what else is said of a principal (when its credentials expire)
    changes from request to request. Without one, all that is known must agree.
    """
    if old.user_id is None and new.user_id is None:
        return bool(old.principal == new.principal)
    return old.user_id == new.user_id
