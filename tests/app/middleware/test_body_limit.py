"""A narrower limit on bodies, for whole and for streamed ones."""

from __future__ import annotations

import pytest

from h3py.app import H3, H3Event
from h3py.app.middleware import body_limit
from h3py.errors import ConfigError
from h3py.http import BodyStream
from h3py.options import Backend
from tests.app.kit import ask


def limited(max_bytes: int) -> H3:
    app = H3()
    app.use("/small", body_limit(max_bytes))
    app.post("/small", lambda event: str(len(event.body)))
    app.post("/large", lambda event: str(len(event.body)))
    app.post("/small/pieces", lambda event: event.body_stream.read(), stream_body=True)
    return app


def test_at_the_limit_and_one_past_it(backend: Backend) -> None:
    app = limited(5)
    assert ask(app, "/small", method="POST", body=b"12345", backend=backend).text == "5"
    answer = ask(app, "/small", method="POST", body=b"123456", backend=backend)
    assert (answer.status, answer.text) == (413, "the body is over 5 bytes")
    assert ask(app, "/large", method="POST", body=b"123456", backend=backend).text == "6"


@pytest.mark.parametrize(("size", "status"), [(5, 200), (6, 413)])
def test_streamed_bodies(size: int, status: int, backend: Backend) -> None:
    stream = BodyStream()

    def arrive() -> None:
        stream.put(b"x" * size)
        stream.complete = True

    answer = ask(
        limited(5), "/small/pieces", method="POST", body=stream, backend=backend, arrivals=[arrive]
    )
    assert answer.status == status


def test_an_announced_length_is_enough() -> None:
    headers = [("Content-Length", "6")]
    answer = ask(limited(5), "/small/pieces", method="POST", body=BodyStream(), headers=headers)
    assert answer.status == 413


def test_no_body_at_all() -> None:
    assert ask(limited(0), "/small", method="POST").text == "0"
    assert ask(limited(0), "/small", method="POST", body=b"1").status == 413


def test_the_limit_is_a_number() -> None:
    with pytest.raises(ConfigError, match="body_limit: max_bytes"):
        body_limit(-1)


def test_it_is_the_events_method(backend: Backend) -> None:
    def handler(event: H3Event) -> str:
        event.limit_body(1)
        return "small enough"

    app = H3()
    app.post("/", handler)
    assert ask(app, method="POST", body=b"12", backend=backend).status == 413
