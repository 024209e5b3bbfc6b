"""Bodies in pieces: taken as they arrive, in threads and in tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from h3py.app import H3, H3Event
from h3py.app.body import BodyReader
from h3py.errors import RequestError
from h3py.http import BodyStream
from h3py.options import Backend
from tests.app.kit import Answer, MemoryExchange, ask


def arriving(stream: BodyStream, *pieces: bytes | RequestError) -> list[Callable[[], None]]:
    """What happens while somebody waits: a piece a time, then the end."""

    def arrive(piece: bytes | RequestError) -> None:
        if isinstance(piece, bytes):
            stream.put(piece)
        else:
            stream.error = piece

    def end() -> None:
        stream.complete = True

    return [*(partial(arrive, piece) for piece in pieces), end]


def upload(backend: Backend, stream: BodyStream, arrivals: list[Callable[[], None]]) -> Answer:
    app = H3()
    if backend == "trio":

        @app.post("/", stream_body=True)
        async def async_handler(event: H3Event) -> list[str]:
            return [piece.decode() async for piece in event.body_stream]
    else:

        @app.post("/", stream_body=True)
        def handler(event: H3Event) -> list[str]:
            return [piece.decode() for piece in event.body_stream]

    return ask(app, method="POST", body=stream, backend=backend, arrivals=arrivals)


def test_pieces_are_given_as_they_arrive(backend: Backend) -> None:
    stream = BodyStream()
    stream.put(b"there already")
    arrivals = arriving(stream, b"one", b"two")
    assert upload(backend, stream, arrivals).json == ["there already", "one", "two"]
    assert arrivals == []


def test_an_empty_body_has_no_pieces(backend: Backend) -> None:
    stream = BodyStream()
    stream.complete = True
    assert upload(backend, stream, []).json == []


def test_what_arrived_before_an_error_is_given_first(backend: Backend) -> None:
    stream = BodyStream()
    stream.put(b"some")
    stream.error = RequestError(400, "broken off")
    pieces = iter(BodyReader(stream, MemoryExchange()))
    assert next(pieces) == b"some"
    with pytest.raises(RequestError, match="broken off"):
        next(pieces)
    stream = BodyStream()
    error = RequestError(408, "the body took too long")
    answer = upload(backend, stream, arriving(stream, b"some", error))
    assert (answer.status, answer.text) == (408, "the body took too long")


def test_all_of_it_at_once() -> None:
    stream = BodyStream()
    reader = BodyReader(stream, MemoryExchange(arrivals=arriving(stream, b"a", b"b")))
    assert reader.read() == b"ab"
    assert reader.read() == b""


async def test_all_of_it_at_once_in_a_task() -> None:
    stream = BodyStream()
    reader = BodyReader(stream, MemoryExchange(arrivals=arriving(stream, b"a", b"b")))
    assert await reader.aread() == b"ab"


def test_a_second_iteration_goes_on() -> None:
    stream = BodyStream()
    reader = BodyReader(stream, MemoryExchange(arrivals=arriving(stream, b"b")))
    stream.put(b"a")
    assert next(iter(reader)) == b"a"
    assert list(reader) == [b"b"]
