"""Nothing that concerns one client, user or channel goes through all connections.

The registry's tables are replaced by ones that cannot be walked; the engine's part, in which events
find their groups, is seen by what it delivers.
"""

from __future__ import annotations

from typing import Any

from h3py import CloseReason
from tests.manager.support.site import Site
from tests.support.wait import wait_until


class NotWalked(dict[Any, Any]):
    """A table in which one entry can be looked up, and all cannot be gone through."""

    def _walked(self, *_: object) -> Any:
        raise AssertionError("all connections were gone through")

    __iter__ = keys = values = items = copy = _walked


def test_what_concerns_one_looks_at_one(site: Site) -> None:
    manager = site.manager
    ada = [site.open(user="ada", client=f"ada-{number}", channels="news") for number in range(2)]
    grace = site.open(user="grace", client="grace-1")
    assert manager._hub is not None
    registry = manager._hub.registry
    tables = (registry._clients, registry._users)
    registry._clients, registry._users = NotWalked(tables[0]), NotWalked(tables[1])
    assert manager.send_to_client("grace-1", "one")
    assert manager.send_to_user("ada", "two") == 2
    assert manager.send_to_users(["ada", "grace"], "three") == 3
    assert manager.send_to_channel("news", "four") == 2
    assert manager.is_client_connected("grace-1")
    assert manager.is_user_online("ada")
    assert manager.join("grace-1", "weather")
    assert manager.send_to_channels(["news", "weather"], "five") == 3
    assert manager.leave("grace-1", "weather")
    assert manager.ping("grace-1")
    assert [event.type for event in grace.read_events(3)] == ["one", "three", "five"]
    for reader in ada:
        assert [event.type for event in reader.read_events(4)] == ["two", "three", "four", "five"]
    # A new stream, one that takes over, and the ends of all.
    ada.append(site.open(user="ada", client="ada-1", channels="news"))
    assert manager.disconnect_client("grace-1")
    assert manager.disconnect_user("ada", CloseReason.KICKED) == 2
    wait_until(lambda: manager.stats()["connections"] == 0)
    registry._clients, registry._users = {}, {}  # the end of the server looks at all
