"""Who is connected: limits, names that are taken over, presence once and in order.

The tables alone, with subscriptions whose streams a test ends by hand; on sockets the
same is tested by ``test_subscription.py`` and ``test_races.py``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from h3py import CloseReason, HTTPError, ManagerOptions
from h3py.manager.presence import Presence
from h3py.manager.registry import Registry


class Told(Presence):
    """Presence that is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def tell(self, happening: Any, *args: Any) -> None:
        names = (getattr(each, "client_id", each) for each in args)
        self.told.append((happening, *names))


class Tables:
    """A registry and what it told."""

    def __init__(self, **options: Any) -> None:
        self.presence = Told()
        self.registry = Registry(ManagerOptions.build(options), self.presence)

    @property
    def told(self) -> list[tuple[Any, ...]]:
        return self.presence.told

    def make(self, client_id: str, user_id: str | None = None, principal: object = None) -> Any:
        return SimpleSubscription(
            client_id=client_id,
            user_id=user_id,
            principal=principal,
            present=False,
            closed=False,
            close_reason=None,
        )

    def add(self, client_id: str, user_id: str | None = None, principal: object = None) -> Any:
        made = self.make(client_id, user_id, principal)
        self.registry.reserve(made)
        assert self.registry.take_over(made) is None
        assert self.registry.admit(made, lambda: None)
        return made

    def end(self, subscription: Any, reason: CloseReason = CloseReason.CLIENT_CLOSED) -> None:
        subscription.close_reason = reason
        assert self.registry.remove(subscription) is None


class SimpleSubscription(SimpleNamespace):
    """What the registry knows of a subscription."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def test_a_stream_comes_and_goes() -> None:
    tables = Tables()
    a = tables.add("a", "anna")
    assert tables.registry.client("a") is a
    assert tables.registry.of_user("anna") == [a]
    assert tables.registry.all() == [a]
    assert tables.registry.counts == (1, 1)
    tables.end(a)
    assert tables.registry.client("a") is None
    assert tables.registry.of_user("anna") == []
    assert tables.registry.counts == (0, 0)
    assert tables.told == [
        ("connect", "a"),
        ("user_online", "anna"),
        ("disconnect", "a", CloseReason.CLIENT_CLOSED),
        ("user_offline", "anna"),
    ]
    tables.end(a)
    assert len(tables.told) == 4


def test_a_user_is_online_with_the_first_stream_and_offline_with_the_last() -> None:
    tables = Tables()
    streams = [tables.add(name, "anna") for name in ("a", "b", "c")]
    assert set(tables.registry.of_user("anna")) == set(streams)
    for stream in streams:
        tables.end(stream)
    users = [told for told in tables.told if told[0].startswith("user")]
    assert users == [("user_online", "anna"), ("user_offline", "anna")]
    assert tables.told[-1] == ("user_offline", "anna")
    assert tables.registry.counts == (0, 0)


def test_what_is_reserved_counts_and_is_seen_by_nobody() -> None:
    tables = Tables(max_streams_per_user=1)
    a = tables.make("a", "anna")
    tables.registry.reserve(a)
    assert tables.registry.counts == (1, 1)
    assert tables.registry.client("a") is None
    assert tables.registry.of_user("anna") == []
    with pytest.raises(HTTPError) as refused:
        tables.registry.reserve(tables.make("b", "anna"))
    assert refused.value.status == 429
    assert tables.registry.remove(a) is None
    assert tables.registry.counts == (0, 0)
    assert tables.told == []


def test_a_stream_that_ends_before_it_is_present_is_never_told_of() -> None:
    tables = Tables()
    a = tables.make("a", "anna")
    tables.registry.reserve(a)
    tables.end(a)

    def join() -> None:
        raise AssertionError("it has ended")

    assert tables.registry.admit(a, join)
    assert tables.told == []
    assert not a.present


def test_what_cannot_join_is_not_told_of() -> None:
    tables = Tables()
    a = tables.make("a", "anna")
    tables.registry.reserve(a)

    def join() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        tables.registry.admit(a, join)
    tables.end(a)
    assert tables.told == []
    assert tables.registry.counts == (0, 0)


def test_streams_per_user_at_the_limit_and_one_past_it() -> None:
    tables = Tables(max_streams_per_user=2, retry_after_s=7)
    a, _ = tables.add("a", "anna"), tables.add("b", "anna")
    with pytest.raises(HTTPError, match="this user has 2 streams already") as refused:
        tables.add("c", "anna")
    assert refused.value.status == 429
    assert dict(refused.value.headers or {}) == {"retry-after": "7"}
    assert tables.registry.client("c") is None
    tables.add("other", "bert")
    for number in range(5):
        tables.add(f"nobody-{number}")
    tables.end(a)
    tables.add("c", "anna")


def test_streams_per_user_without_limit() -> None:
    tables = Tables(max_streams_per_user=None)
    for number in range(150):
        tables.add(str(number), "anna")
    assert len(tables.registry.of_user("anna")) == 150


def test_those_that_end_do_not_count() -> None:
    tables = Tables(max_streams_per_user=1)
    a = tables.add("a", "anna")
    a.closed = True
    tables.add("b", "anna")
    with pytest.raises(HTTPError):
        tables.add("c", "anna")


def test_a_client_takes_over_from_its_older_stream() -> None:
    tables = Tables(max_streams_per_user=1)
    old, new = tables.add("a", "anna"), tables.make("a", "anna")
    tables.registry.reserve(new)
    assert tables.registry.client("a") is None  # the name is the new one's, which has not begun
    assert tables.registry.take_over(new) is old
    assert tables.registry.take_over(new) is None
    assert tables.registry.admit(new, lambda: None)
    assert tables.registry.counts == (2, 1)
    tables.end(old, CloseReason.REPLACED)
    assert tables.registry.client("a") is new
    assert tables.registry.counts == (1, 1)
    tables.end(new)
    assert tables.told == [
        ("connect", "a"),
        ("user_online", "anna"),
        ("connect", "a"),
        ("disconnect", "a", CloseReason.REPLACED),
        ("disconnect", "a", CloseReason.CLIENT_CLOSED),
        ("user_offline", "anna"),
    ]


def test_where_the_new_one_cannot_begin_the_old_one_has_its_name_back() -> None:
    tables = Tables()
    old, new = tables.add("a", "anna"), tables.make("a", "anna")
    tables.registry.reserve(new)
    assert tables.registry.remove(new) is None
    assert tables.registry.client("a") is old
    assert tables.registry.all() == [old]
    tables.end(old)
    assert tables.registry.counts == (0, 0)


def test_the_old_one_may_end_before_the_new_one_begins_or_fails() -> None:
    for begins in (True, False):
        tables = Tables()
        old, new = tables.add("a"), tables.make("a")
        tables.registry.reserve(new)
        tables.end(old)
        if begins:
            assert tables.registry.take_over(new) is None
            assert tables.registry.admit(new, lambda: None)
        tables.end(new)
        assert tables.registry.counts == (0, 0)


def test_of_three_at_once_the_last_stays() -> None:
    tables = Tables()
    old, second, third = tables.add("a"), tables.make("a"), tables.make("a")
    tables.registry.reserve(second)
    tables.registry.reserve(third)
    assert tables.registry.take_over(third) is None  # the second has not begun
    assert tables.registry.admit(third, lambda: None)
    assert tables.registry.take_over(second) is old
    assert not tables.registry.admit(second, lambda: None)
    for ended in (old, second):
        tables.end(ended, CloseReason.REPLACED)
    assert tables.registry.all() == [third]


def test_of_three_at_once_the_second_fails() -> None:
    tables = Tables()
    old, second, third = tables.add("a"), tables.make("a"), tables.make("a")
    tables.registry.reserve(second)
    tables.registry.reserve(third)
    assert tables.registry.remove(second) is old  # it is to end: the third has its name
    assert tables.registry.admit(third, lambda: None)
    tables.end(old, CloseReason.REPLACED)
    assert tables.registry.all() == [third]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (("anna", None), ("anna", None), True),
        (("anna", "token 1"), ("anna", "token 2"), True),  # renewed meanwhile
        (("anna", None), ("bert", None), False),
        (("anna", None), (None, None), False),
        ((None, None), ("anna", None), False),
        ((None, None), (None, None), True),
        ((None, "a"), (None, "a"), True),
        ((None, "a"), (None, "b"), False),
        ((None, "a"), (None, None), False),
    ],
    ids=range(9),
)
def test_who_may_take_a_name_over(old: Any, new: Any, same: bool) -> None:
    tables = Tables()
    first = tables.add("a", *old)
    second = tables.make("a", *new)
    if same:
        tables.registry.reserve(second)
    else:
        with pytest.raises(HTTPError, match="in use") as refused:
            tables.registry.reserve(second)
        assert refused.value.status == 409
        assert tables.registry.client("a") is first
        assert tables.registry.counts[0] == 1


def test_a_loss_is_told_of_those_who_are_present() -> None:
    tables = Tables()
    a = tables.make("a")
    tables.registry.reserve(a)
    tables.registry.was_reset(a)
    assert tables.told == []
    tables.registry.admit(a, lambda: None)
    tables.registry.was_reset(a)
    tables.end(a)
    tables.registry.was_reset(a)
    assert [told[0] for told in tables.told] == ["connect", "reset", "disconnect"]
