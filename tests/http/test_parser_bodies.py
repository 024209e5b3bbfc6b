"""Bodies that come later: ``100 Continue``, and bodies handed over in pieces."""

from __future__ import annotations

import pytest

from h3py.errors import RequestError
from h3py.http import BodyStream, Phase, Request, RequestParser
from h3py.options import Limits
from tests.http.support import CHUNKED, GET, POST, feed_all


class TestContinue:
    EXPECTING = POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n"

    def test_is_asked_for_once(self) -> None:
        parser = RequestParser(Limits())
        parser.feed(self.EXPECTING)
        assert parser.take_continue()
        assert not parser.take_continue()
        (request,) = parser.feed(b"hi")
        assert request.body == b"hi"
        assert not parser.take_continue()

    def test_not_before_the_head_is_complete(self) -> None:
        parser = RequestParser(Limits())
        parser.feed(self.EXPECTING[:-1])
        assert not parser.take_continue()
        parser.feed(self.EXPECTING[-1:])
        assert parser.take_continue()

    @pytest.mark.parametrize(
        "data",
        [
            EXPECTING + b"h",
            EXPECTING + b"hi",
            POST + b"Expect: 100-continue\r\n\r\n",
            POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
            POST + b"Expect:\r\nContent-Length: 2\r\n\r\n",
            b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
            b"POST / HTTP/1.0\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n",
        ],
        ids=[
            "body begun",
            "body come",
            "no body",
            "empty body",
            "empty field",
            "1.0",
            "1.0, other",
        ],
    )
    def test_not_where_nobody_waits_for_it(self, data: bytes) -> None:
        parser = RequestParser(Limits())
        parser.feed(data)
        assert parser.error is None
        assert not parser.take_continue()

    def test_of_a_chunked_and_streamed_body(self) -> None:
        parser = RequestParser(Limits(), wants_stream=lambda request: True)
        (_,) = parser.feed(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert parser.take_continue()

    def test_not_when_the_body_is_too_large(self) -> None:
        parser = RequestParser(Limits(body_bytes=1))
        parser.feed(self.EXPECTING)
        assert not parser.take_continue()
        assert parser.error is not None
        assert parser.error.status == 413

    @pytest.mark.parametrize("stream", [False, True])
    def test_does_not_overtake_the_answers_before_it(self, stream: bool) -> None:
        parser = RequestParser(Limits(), wants_stream=lambda request: stream)
        assert [r.method for r in parser.feed(GET + GET + self.EXPECTING)] == ["GET", "GET"]
        assert not parser.take_continue()
        assert parser.buffered
        assert len(parser.feed(b"")) == (1 if stream else 0)
        assert parser.take_continue()
        assert not parser.buffered
        parser.feed(b"hi")
        assert parser.error is None
        assert parser.phase is Phase.IDLE


class TestStreamedBody:
    def streaming(self, limits: Limits | None = None) -> RequestParser:
        return RequestParser(limits or Limits(), wants_stream=lambda request: True)

    def test_arrives_in_pieces_after_its_request(self) -> None:
        parser = self.streaming()
        (request,) = parser.feed(POST + b"Content-Length: 5\r\n\r\nhe")
        body = request.body
        assert isinstance(body, BodyStream)
        assert body.take() == b"he"
        assert body.take() == b""
        assert not body.complete
        assert parser.feed(b"llo" + GET[:5]) == []
        assert (body.take(), body.complete) == (b"llo", True)
        (following,) = parser.feed(GET[5:])
        assert following.body == b""

    @pytest.mark.parametrize("first", [b"", b"h"])
    def test_the_next_request_does_not_come_with_its_end(self, first: bytes) -> None:
        parser = self.streaming()
        whole = POST + b"Content-Length: 2\r\n\r\n" + b"hi" + GET
        at = len(whole) - len(GET) - len(b"hi") + len(first)
        (request,) = parser.feed(whole[:at])
        assert parser.feed(whole[at:]) == []
        assert isinstance(request.body, BodyStream)
        assert (request.body.take(), request.body.complete) == (b"hi", True)
        assert parser.buffered
        assert [r.method for r in parser.feed(b"")] == ["GET"]
        assert not parser.buffered

    def test_is_asked_of_requests_with_a_body_alone(self) -> None:
        asked: list[Request] = []

        def wants_stream(request: Request) -> bool:
            asked.append(request)
            return False

        parser = RequestParser(Limits(), wants_stream=wants_stream)
        post = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        requests = feed_all(parser, [GET + post % 1 + GET + post % 2])
        assert [r.path for r in asked] == ["/1", "/2"]
        assert [r.body for r in requests] == [b"", b"x", b"", b"x"]

    def test_ends_with_the_error_that_cut_it_short(self) -> None:
        parser = self.streaming()
        (request,) = parser.feed(CHUNKED + b"2\r\nhi\r\nnonsense\r\n")
        assert isinstance(request.body, BodyStream)
        assert request.body.take() == b"hi"
        assert not request.body.complete
        assert parser.error is not None
        assert request.body.error is parser.error
        assert parser.phase is Phase.IDLE

    @pytest.mark.parametrize("head", [CHUNKED + b"5\r\n", POST + b"Content-Length: 5\r\n\r\n"])
    def test_ends_with_an_error_at_the_end_of_input(self, head: bytes) -> None:
        parser = self.streaming()
        (request,) = parser.feed(head + b"hell")
        parser.feed_eof()
        assert isinstance(request.body, BodyStream)
        assert request.body.error is not None
        assert request.body.error.status == 400
        assert parser.error is request.body.error

    def test_of_the_last_request_of_a_connection(self) -> None:
        parser = self.streaming()
        (request,) = parser.feed(POST + b"Connection: close\r\nContent-Length: 1\r\n\r\nx" + GET)
        assert isinstance(request.body, BodyStream)
        assert request.body.complete
        assert parser.feed(GET) == []
        assert parser.error is None

    def test_is_bounded(self) -> None:
        parser = self.streaming(Limits(body_bytes=3))
        (request,) = parser.feed(CHUNKED + b"2\r\nhi\r\n2\r\n")
        assert isinstance(request.body, BodyStream)
        assert request.body.take() == b"hi"
        assert request.body.error is not None
        assert request.body.error.status == 413

    def test_nothing_is_read_after_the_question_failed(self) -> None:
        def wants_stream(request: Request) -> bool:
            raise LookupError(request.path)

        parser = RequestParser(Limits(), wants_stream=wants_stream)
        with pytest.raises(LookupError, match="/"):
            parser.feed(POST + b"Content-Length: 40\r\n\r\n" + GET)
        assert parser.phase is Phase.IDLE
        assert parser.feed(GET) == []

    def test_the_question_may_refuse_the_request(self) -> None:
        def wants_stream(request: Request) -> bool:
            raise RequestError(413, "not here")

        parser = RequestParser(Limits(), wants_stream=wants_stream)
        assert parser.feed(POST + b"Content-Length: 4\r\n\r\nbody") == []
        assert parser.error is not None
        assert parser.error.status == 413


class TestFail:
    LATE = RequestError(408, "too slow")

    @pytest.mark.parametrize("data", [b"", GET[:5], CHUNKED + b"5\r\nhe"])
    def test_ends_the_reading(self, data: bytes) -> None:
        parser = RequestParser(Limits())
        parser.feed(data)
        parser.fail(self.LATE)
        assert parser.error is self.LATE
        assert parser.phase is Phase.IDLE
        assert parser.feed(GET) == []

    def test_ends_a_streamed_body(self) -> None:
        parser = RequestParser(Limits(), wants_stream=lambda request: True)
        (request,) = parser.feed(CHUNKED + b"5\r\nhe")
        parser.fail(self.LATE)
        parser.feed_eof()
        assert isinstance(request.body, BodyStream)
        assert request.body.error is self.LATE
        assert parser.error is self.LATE

    def test_comes_after_what_was_wrong_before(self) -> None:
        parser = RequestParser(Limits())
        parser.feed(b"nonsense\r\n")
        parser.fail(self.LATE)
        assert parser.error is not None
        assert parser.error.status == 400
