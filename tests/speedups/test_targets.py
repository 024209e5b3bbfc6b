"""What may be a name, metadata or a condition; and what is told about what may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from h3py._speedups.format import SSEEvent
from tests.speedups.support.rig import Rig, Stream


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


@pytest.fixture
def stream(rig: Rig) -> Stream:
    return rig.stream(everyone=False)


@pytest.mark.parametrize("word", ["users", "channels", "clients"])
@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("abc", TypeError, "must be several names, not the str 'abc'"),
        ([1], TypeError, "must be str, not int"),
        ([b"a"], TypeError, "must be str, not bytes"),
        ([None], TypeError, "must be str, not NoneType"),
        ([""], ValueError, "has 0 bytes"),
        (["a" * 65536], ValueError, "has 65536 bytes"),
        (["ü" * 40000], ValueError, "has 80000 bytes"),
        (["\ud800"], UnicodeEncodeError, "surrogates"),
        (5, TypeError, "not iterable"),
    ],
)
def test_names_that_cannot_be(
    rig: Rig, word: str, names: Any, error: type[Exception], message: str
) -> None:
    groups = rig.engine.stats()["groups"]
    with pytest.raises(error, match=message):
        rig.engine.publish(SSEEvent("x"), **{word: names})
    assert rig.engine.head == 0
    assert rig.engine.stats()["groups"] == groups
    assert rig.engine.stats()["blocks"] == 1


def test_any_iterable_of_names(rig: Rig, stream: Stream) -> None:
    rig.engine.join(stream.handle, channels=(name for name in "ab"))
    rig.engine.join(stream.handle, channels={"c": 1})
    rig.engine.publish(SSEEvent("x"), channels=iter(["b", "b", "c"]))
    rig.settle()
    assert stream.data == ["x"]
    assert len(stream.info["groups"]) == 3


def test_a_name_is_what_it_was_even_if_its_str_is_gone(rig: Rig, stream: Stream) -> None:
    rig.engine.join(stream.handle, channels=["".join(["ab", "cd"])])  # noqa: FLY002  # a new object
    rig.publish("x", channels=["".join(["abc", "d"])])  # noqa: FLY002  # a new object
    rig.settle()
    assert stream.data == ["x"]
    assert stream.info["groups"] == [("channel", "abcd")]


def test_an_event_for_nobody(rig: Rig) -> None:
    with pytest.raises(ValueError, match="needs users, channels, clients or everyone"):
        rig.engine.publish(SSEEvent("x"))
    with pytest.raises(ValueError, match="needs users"):
        rig.engine.publish(SSEEvent("x"), users=[], channels=())


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"k": 1}, TypeError),
        ({1: "v"}, TypeError),
        ({"k": ["v"]}, TypeError),
        ("kv", AttributeError),
    ],
)
def test_metadata_that_cannot_be(rig: Rig, metadata: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        rig.engine.publish(SSEEvent("x"), everyone=True, metadata=metadata)
    assert rig.engine.head == 0


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ({}, ValueError, "no condition"),
        ({"k": []}, ValueError, "no value at all for 'k'"),
        ({"k": [1]}, TypeError, "str to str values"),
        ({1: ["v"]}, TypeError, "str to str values"),
        ({"k": 5}, TypeError, "not iterable"),
        ("k", AttributeError, "items"),
    ],
)
def test_conditions_that_cannot_be(
    rig: Rig, where: Any, error: type[Exception], message: str
) -> None:
    handle = rig.adopt().handle
    memory = rig.engine.memory_bytes
    with pytest.raises(error, match=message):
        rig.engine.subscribe(handle, where=where)
    assert rig.engine.memory_bytes == memory
    rig.engine.subscribe(handle, where={"k": ["v"]})


def test_texts_are_compared_whole(rig: Rig) -> None:
    stream = rig.stream(where={"ke": ["yx"], "k": ["eyx", "ü"]})
    for number, metadata in enumerate(
        [
            {"ke": "yx", "k": "eyx"},
            {"k": "eyx"},
            {"key": "x"},
            {"ke": "yx", "k": "ü"},
            {"ke": "", "k": ""},
        ]
    ):
        rig.engine.publish(SSEEvent(f"{number}"), everyone=True, metadata=metadata)
    rig.settle()
    assert stream.data == ["0", "3"]


def test_large_metadata(rig: Rig) -> None:
    stream = rig.stream(where={f"k{n}": ["v" * 1000] for n in range(50)})
    rig.engine.publish(
        SSEEvent("all"), everyone=True, metadata={f"k{n}": "v" * 1000 for n in range(60)}
    )
    rig.engine.publish(
        SSEEvent("one short"), everyone=True, metadata={f"k{n}": "v" * 1000 for n in range(49)}
    )
    rig.settle()
    assert stream.data == ["all"]
