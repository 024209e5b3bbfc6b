"""Conditions on metadata: what a mapping becomes, and whom a function is asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from h3py.manager.filters import MAX_UNUSED, Filters, check_where
from tests.support.wait import DEADLINE_S


class Log:
    """Where events go: the metadata of each; and what an engine requires of publishers."""

    def __init__(self) -> None:
        self.events: list[dict[str, str] | None] = []
        self.version = 0
        self.filters = Filters(self.require)

    def require(self, version: int) -> int:
        self.version = version
        return len(self.events)

    def publish(self, metadata: dict[str, str] | None) -> None:
        said: dict[str, bool] = {}
        while True:
            version, marks = self.filters.answers(metadata, said)
            if version >= self.version:
                self.events.append(marks)
                return


@pytest.fixture
def log() -> Log:
    return Log()


def accepted(condition: Mapping[str, tuple[str, ...]], metadata: dict[str, str] | None) -> bool:
    """What the engine finds: each key has one of its accepted values."""
    return all((metadata or {}).get(key) in values for key, values in condition.items())


def test_a_mapping_is_text_by_texts() -> None:
    assert check_where({"a": "x", "b": 7, "c": ["x", 1.5, True], "d": False, "e": {"y"}}) == {
        "a": ("x",),
        "b": ("7",),
        "c": ("x", "1.5", "true"),
        "d": ("false",),
        "e": ("y",),
    }


@pytest.mark.parametrize(
    ("where", "error", "told"),
    [
        ("a=b", TypeError, "a mapping or a function, not str"),
        ({7: "x"}, TypeError, "keys must be str"),
        ({"a": b"x"}, TypeError, "'a' must be text"),
        ({"a": [None]}, TypeError, "'a' must be text"),
        ({"a": []}, ValueError, "'a' accepts no value"),
        ({"\0where:0": "1"}, ValueError, "the manager's own"),
        ({"a": "\ud800"}, ValueError, "no text"),
        ({"\ud800": "a"}, ValueError, "no text"),
    ],
    ids=range(8),
)
def test_what_is_no_condition(where: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        check_where(where)


def test_which_functions_are_none() -> None:
    async def later(metadata: Mapping[str, str]) -> bool:
        raise AssertionError(metadata)

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]  # that is the point

        def __call__(self, metadata: Mapping[str, str]) -> bool:
            raise AssertionError(metadata)

    with pytest.raises(TypeError, match="plain function"):
        check_where(later)
    with pytest.raises(TypeError, match="unhashable"):
        check_where(Unhashable())
    assert check_where(len) is len


def test_without_functions_metadata_goes_as_it_is(log: Log) -> None:
    log.publish({"a": "b"})
    log.publish(None)
    assert log.events == [{"a": "b"}, None]


def test_a_function_is_asked_once_per_event_and_its_answer_goes_with_it(log: Log) -> None:
    filters, asked = log.filters, []

    def loud(metadata: Mapping[str, str]) -> object:
        asked.append(dict(metadata))
        return metadata.get("level") == "error" and "yes"

    condition, since = filters.take(loud)
    assert filters.take(loud) == (condition, since)
    assert since == 0
    for metadata in ({"level": "error"}, {"level": "info"}, None):
        log.publish(metadata)
    assert asked == [{"level": "error"}, {"level": "info"}, {}]
    assert [accepted(condition, event) for event in log.events] == [True, False, False]
    assert log.events[0]["level"] == "error"
    assert log.events[2] is None


def test_since_is_what_was_published_before(log: Log) -> None:
    filters = log.filters
    log.publish(None)
    log.publish(None)
    assert filters.take(len)[1] == 2


def test_an_event_that_was_being_asked_about_when_a_function_came_has_its_answer(log: Log) -> None:
    """Else its streams would miss an event that comes after ``since``, and nobody would know."""
    filters = log.filters
    entered, go_on = threading.Event(), threading.Event()

    def slow(metadata: Mapping[str, str]) -> bool:
        entered.set()
        assert go_on.wait(DEADLINE_S)
        return True

    filters.take(slow)
    publisher = threading.Thread(target=log.publish, args=({"a": "b"},))
    publisher.start()
    assert entered.wait(DEADLINE_S)
    condition, since = filters.take(lambda metadata: "a" in metadata)
    go_on.set()
    publisher.join(DEADLINE_S)
    assert since == 0
    assert accepted(condition, log.events[0])


def test_a_function_that_fails_accepts_nothing(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    filters = log.filters

    def fail(metadata: Mapping[str, str]) -> bool:
        raise LookupError("on purpose")

    failing, _ = filters.take(fail)
    other, _ = filters.take(lambda metadata: True)
    with caplog.at_level(logging.ERROR, "h3py.manager"):
        log.publish({"a": "b"})
    assert not accepted(failing, log.events[0])
    assert accepted(other, log.events[0])
    assert "a where function failed" in caplog.text


def test_a_function_is_known_for_a_while_after_its_last_subscriber(log: Log) -> None:
    filters = log.filters
    first = filters.take(len)
    filters.take(len)
    log.publish(None)
    filters.give_back(len)
    filters.give_back(len)
    functions = [lambda metadata, number=number: number for number in range(MAX_UNUSED)]
    for function in functions[:-1]:
        filters.take(function)
        filters.give_back(function)
    # At the limit it is known still; one past it, the longest unused is forgotten.
    assert filters.take(len) == first
    filters.give_back(len)
    for function in functions:
        filters.take(function)
        filters.give_back(function)
    condition, since = filters.take(len)
    assert condition != first[0]
    assert since == 1


def test_used_functions_are_never_forgotten(log: Log) -> None:
    filters = log.filters
    first = filters.take(len)
    for number in range(2 * MAX_UNUSED):
        function = (number).__eq__
        filters.take(function)
        filters.give_back(function)
    assert filters.take(len) == first


def test_a_function_may_publish_itself(log: Log) -> None:
    filters = log.filters

    def echo(metadata: Mapping[str, str]) -> bool:
        if "echo" not in metadata:
            log.publish({"echo": "1"})
        return True

    filters.take(echo)
    log.publish({"a": "b"})
    assert [sorted(event)[-1] for event in log.events if event] == ["echo", "a"]
