"""Who is connected: subscriptions by client and by user, and the limits on them.

Owner: the hub; any thread, under its lock, which is never held while anything of the
application or the engine runs. A subscription is *reserved* (it counts), then *present*
(the application was told), then removed, once, by the end of its stream. Channels are
not here: memberships live in the engine alone.

A user with one stream has no set of streams: most have one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
        self._lock = threading.Lock()
        self._clients: dict[str, Subscription] = {}
        self._users: dict[str, Subscription | set[Subscription]] = {}
        # Those that another one has replaced, until their streams have ended.
        self._replaced: set[Subscription] = set()

    def reserve(self, new: Subscription) -> Subscription | None:
        """Count a subscription in; gives the one of the same client that it replaces.

        Raises:
            HTTPError: 429: the user has as many streams as one may. 409: the client id is
                another principal's.
        """
        options = self._options
        with self._lock:
            old = self._clients.get(new.client_id)
            if old is not None and (old.principal, old.user_id) != (new.principal, new.user_id):
                raise HTTPError(409, "the client id is in use")
            most = options.max_streams_per_user
            if most is not None and new.user_id is not None:
                others = sum(
                    other is not old and other not in self._replaced
                    for other in self._of_user(new.user_id)
                )
                if others >= most:
                    raise HTTPError(
                        429,
                        f"this user has {most} streams already",
                        headers={"retry-after": str(options.retry_after_s)},
                    )
            self._clients[new.client_id] = new
            if new.user_id is not None:
                self._add_to_user(new.user_id, new)
            if old is not None:
                self._replaced.add(old)
        return old

    def present(self, subscription: Subscription) -> None:
        """Its stream has begun: the application is told."""
        with self._lock:
            subscription.present = True
            self._presence.tell("connect", subscription)
            user = subscription.user_id
            if user is not None and not self._others_present(user, subscription):
                self._presence.tell("user_online", user)

    def remove(self, subscription: Subscription) -> None:
        """Its stream has ended, or could not begin; nothing if it was removed before."""
        with self._lock:
            if self._clients.get(subscription.client_id) is subscription:
                del self._clients[subscription.client_id]
            elif subscription not in self._replaced:
                return
            self._replaced.discard(subscription)
            user = subscription.user_id
            if user is not None:
                self._drop_from_user(user, subscription)
            if not subscription.present:
                return
            subscription.present = False
            self._presence.tell("disconnect", subscription, subscription.close_reason)
            if user is not None and not self._others_present(user, subscription):
                self._presence.tell("user_offline", user)

    def client(self, client_id: str) -> Subscription | None:
        """The subscription of a client."""
        return self._clients.get(client_id)

    def of_user(self, user_id: str) -> list[Subscription]:
        """The subscriptions of a user."""
        with self._lock:
            return list(self._of_user(user_id))

    def all(self) -> list[Subscription]:
        """Every subscription, those that are being replaced included."""
        with self._lock:
            return [*self._clients.values(), *self._replaced]

    @property
    def counts(self) -> tuple[int, int]:
        """How many clients, and how many users."""
        with self._lock:
            return len(self._clients) + len(self._replaced), len(self._users)

    # -- with the lock held ----------------------------------------------------------

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
