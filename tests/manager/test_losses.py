"""Losses (M9, N3): what nobody can have seen, what the history no longer has, and who is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from h3py import MemoryBroker, SSEManager, Subscription
from h3py.testing import ManualClock
from tests.manager.support.site import Site, check_reset, ended, id_of, numbers
from tests.support.wait import wait_until

MakeSite = Callable[..., Site]


@pytest.mark.parametrize(
    "nonsense",
    [
        "x",
        "0",
        "-",
        "000000000000-000000000001",
        "{epoch}",
        "{epoch}-",
        "{epoch}-1",
        "{epoch}-00000000000g",
        "{epoch}-0000000000001",
        "{epoch}-000000000003",  # one past the head
        "{epoch}-ffffffffffff",
        "{epoch}-000000000001-",
        "x" * 2000,
        "\xe9\xff",
    ],
    ids=range(14),
)
def test_what_nobody_can_have_seen_is_told_first(site: Site, nonsense: str) -> None:
    """Another epoch, the future, or no id at all; and the next reconnect is no reset."""
    reader = site.open("news")
    for number in range(2):
        site.manager.send_to_channel("news", "to", number)
    seen = reader.read_events(2)[1].last_event_id
    back = site.open("news", seen=nonsense.replace("{epoch}", seen[:12]))
    check_reset(back.read_event(), seen)
    site.manager.send_to_channel("news", "to", 2)
    assert back.read_event().data == "2"
    again = site.open("news", seen=seen)
    assert again.read_event().data == "2"
    assert site.manager.stats()["resets"] == 1


def test_the_head_itself_is_no_nonsense(site: Site) -> None:
    reader = site.open("news")
    site.manager.send_to_channel("news", "to", 0)
    seen = reader.read_event().last_event_id
    for position in (seen, id_of(seen, 0)):
        back = site.open("news", seen=position)
        site.manager.broadcast("end")
        assert back.read_event().type == ("end" if position == seen else "to")
    assert site.manager.stats()["resets"] == 0


def test_a_quiet_channels_client_is_never_told_of_a_loss_it_did_not_have(
    make_site: MakeSite,
) -> None:
    site = make_site(broker=MemoryBroker(max_events=10), watch_presence=True)
    manager = site.manager
    quiet, busy = site.open("quiet", client="q"), site.open("busy", client="b")
    manager.broadcast("to", "start")
    seen = quiet.read_event().last_event_id
    busy.read_event()
    for reader in (quiet, busy):
        ended(site, reader)
    with site.open("busy") as watcher:
        for number in range(25):
            site.publish("busy", number)
        watcher.read_events(25)  # so that the pump is as far as the reset will say
    quiet, busy = (
        site.open("quiet", client="q", seen=seen),
        site.open("busy", client="b", seen=seen),
    )
    check_reset(busy.read_event(), id_of(seen, 26))
    manager.broadcast("to", "end")
    for reader in (quiet, busy):
        assert reader.read_event().data == "end"
    wait_until(lambda: ("reset", "b") in site.told)
    assert ("reset", "q") not in site.told


@pytest.mark.parametrize("missed", [9, 10, 11])
def test_history_is_bounded_by_count(make_site: MakeSite, missed: int) -> None:
    """Ten events are kept: at the limit all come, one past it a loss is told."""
    site = make_site(broker=MemoryBroker(max_events=10))
    reader = site.open("news")
    site.manager.send_to_channel("news", "to", "start")
    seen = reader.read_event().last_event_id
    ended(site, reader)
    with site.open("news") as watcher:
        for number in range(missed):
            site.publish("news", number)
        watcher.read_events(missed)  # so that the pump is as far as the reset will say
    back = site.open("news", seen=seen)
    if missed <= 10:
        assert numbers(back.read_events(missed)) == list(range(missed))
    else:
        check_reset(back.read_event(), id_of(seen, missed + 1))
    site.manager.broadcast("end")
    assert back.read_event().type == "end"
    assert site.manager.stats()["log_events"] == 10


def test_history_is_bounded_by_bytes(make_site: MakeSite) -> None:
    site = make_site(broker=MemoryBroker(max_bytes=100_000))
    reader = site.open("news")
    site.manager.send_to_channel("news", "to", "start")
    seen = reader.read_event().last_event_id
    for _ in range(300):
        site.publish("news", "x" * 1000)
        assert site.manager.stats()["log_bytes"] <= 100_000
        reader.read_event()
    held = site.manager.stats()["log_events"]
    assert 50 < held < 100
    lost, kept = id_of(seen, 300 - held), id_of(seen, 301 - held)
    back = site.open("news", seen=lost)
    assert back.read_event().type == "h3py:reset"
    assert len(site.open("news", seen=kept).read_events(held)) == held


def test_history_is_bounded_by_age(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = make_site(
        broker=MemoryBroker(max_age_s=60), clock=clock, heartbeat_s=None, stall_timeout_s=None
    )
    reader = site.open("news")
    site.manager.send_to_channel("news", "to", 0)
    seen = reader.read_event().last_event_id
    site.manager.send_to_channel("news", "to", 1)
    clock.advance(30)
    site.manager.send_to_channel("news", "to", 2)
    clock.advance(29)
    assert numbers(site.open("news", seen=seen).read_events(2)) == [1, 2]
    clock.advance(2)
    wait_until(lambda: site.manager.stats()["log_events"] == 1)
    back = site.open("news", seen=seen)
    check_reset(back.read_event(), id_of(seen, 3))
    assert numbers(site.open("news", seen=id_of(seen, 2)).read_events(1)) == [2]


def test_the_application_sends_a_snapshot_to_who_lost_something(make_site: MakeSite) -> None:
    manager = SSEManager()

    @manager.on_reset
    def snapshot(who: Subscription) -> None:
        who.send_event_nowait(f"the whole state, for {who.user_id}")

    site = make_site(manager=manager)
    reader = site.open("news", user="anna", seen="long ago")
    reset, state = reader.read_events(2)
    assert reset.type == "h3py:reset"
    assert state.data == "the whole state, for anna"


def test_no_history_no_reset(make_site: MakeSite) -> None:
    site = make_site(broker=MemoryBroker(max_events=0))
    reader = site.open("news", seen="long ago", last_event_id="000000000000-000000000001")
    site.manager.send_to_channel("news", "to", "x")
    event = reader.read_event()
    assert (event.data, event.last_event_id) == ("x", "")
