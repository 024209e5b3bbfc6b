"""A client over a real socket: sends exactly the bytes given, reads with a deadline.

One instance belongs to one thread. It closes its socket when its ``with`` block
is left; ``reset`` ends it with RST instead.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from tests.support.http import ChunkedReader, Head, parse_head
from tests.support.wait import DEADLINE_S, Deadline

Address = tuple[str, int] | str
"""(host, port), or the path of a Unix socket."""


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection.

    Args:
        address: Where to; ``server.addresses[0]`` of what ``serve_app`` gives.
        deadline_s: For each call that waits.
        tls: A client-side context, for TLS.
        server_name: The name to check the certificate against.
        receive_buffer: SO_RCVBUF in bytes, set before connecting: a small one makes
            a slow reader.
    """

    def __init__(
        self,
        address: Address | Any,
        *,
        deadline_s: float = DEADLINE_S,
        tls: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        receive_buffer: int | None = None,
    ) -> None:
        self.deadline_s = deadline_s
        self.received = b""
        """What has been received and not been read yet."""
        if isinstance(address, str):
            plain = socket.socket(socket.AF_UNIX)
        else:
            plain = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            if receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            plain.settimeout(Deadline(deadline_s).left_s)
            plain.connect(address if isinstance(address, str) else tuple(address[:2]))
            self.socket = tls.wrap_socket(plain, server_hostname=server_name) if tls else plain
        except BaseException:
            plain.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Sending.

    def send(self, data: bytes) -> None:
        """All of ``data``, as it is."""
        self.socket.settimeout(Deadline(self.deadline_s).left_s)
        self.socket.sendall(data)

    def request(
        self,
        method: str,
        target: str,
        fields: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> None:
        """A well-formed request; a Host is added, and a Content-Length where there is a body."""
        lines = [f"{method} {target} HTTP/1.1"]
        fields = [*fields]
        if not any(name.lower() == "host" for name, _ in fields):
            lines.append("Host: localhost")
        lines += [f"{name}: {value}" for name, value in fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    # Reading.

    def read_until(self, marker: bytes) -> bytes:
        """Everything up to and with ``marker``."""
        deadline = Deadline(self.deadline_s)
        while marker not in self.received:
            self._receive(deadline, f"{marker!r}")
        before, _, self.received = self.received.partition(marker)
        return before + marker

    def read_exactly(self, size: int) -> bytes:
        deadline = Deadline(self.deadline_s)
        while len(self.received) < size:
            self._receive(deadline, f"{size} bytes")
        data, self.received = self.received[:size], self.received[size:]
        return data

    def read_some(self) -> bytes:
        """What there is, at least one byte."""
        if not self.received:
            self._receive(Deadline(self.deadline_s), "anything")
        data, self.received = self.received, b""
        return data

    def read_to_end(self) -> bytes:
        """Everything up to the peer's FIN."""
        deadline = Deadline(self.deadline_s)
        while self._receive(deadline, "the end", end_is_fine=True):
            pass
        data, self.received = self.received, b""
        return data

    def read_head(self) -> Head:
        """A response head; what follows stays to be read."""
        return parse_head(self.read_until(b"\r\n\r\n")[:-4])

    def read_reply(self, *, head_only: bool = False) -> Reply:
        """A whole response; ``head_only`` for the answer to a HEAD request."""
        head = self.read_head()
        if head_only or head.status in (204, 304) or head.status < 200:
            return Reply(head, b"")
        if head.chunked:
            return Reply(head, b"".join(self.chunks()))
        length = head.get("content-length")
        return Reply(head, self.read_to_end() if length is None else self.read_exactly(int(length)))

    def get(self, target: str, fields: Iterable[tuple[str, str]] = ()) -> Reply:
        """GET and its whole answer."""
        self.request("GET", target, fields)
        return self.read_reply()

    def chunks(self) -> Iterator[bytes]:
        """The chunks of a chunked body, each when it is complete, to its end."""
        reader = ChunkedReader()
        given = 0
        while True:
            data, self.received = self.received, b""
            reader.feed(data)
            yield from reader.chunks[given:]
            given = len(reader.chunks)
            if reader.ended:
                self.received = reader.rest
                return
            self._receive(Deadline(self.deadline_s), "a chunk")

    def open_stream(
        self, target: str, fields: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> EventStream:
        """Request an event stream and read its head."""
        self.request(method, target, [("Accept", "text/event-stream"), *fields])
        return EventStream(self, self.read_head())

    # Ends.

    def expect_eof(self) -> None:
        """The peer ends the connection here, cleanly: a FIN, and nothing before it."""
        rest = self.read_to_end()
        assert rest == b"", f"before the end came {rest[:200]!r}"

    def expect_closed(self) -> None:
        """The peer ends the connection, by FIN or RST, whatever comes before."""
        with contextlib.suppress(ConnectionError):
            self.read_to_end()

    def end_sending(self) -> None:
        """FIN: this side has nothing more to say, but goes on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """RST: what a crashed client, or a cut line, looks like."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _receive(self, deadline: Deadline, what: str, *, end_is_fine: bool = False) -> bool:
        """Receive once; whether there was anything."""
        self.socket.settimeout(deadline.left_s or 1e-6)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise AssertionError(
                f"not within {deadline.seconds:g} s: {what}; so far {self.received[:400]!r}"
            ) from None
        if not data and not end_is_fine:
            raise AssertionError(f"the peer ended before {what}; so far {self.received[:400]!r}")
        self.received += data
        return bool(data)


class EventStream:
    """The events of a stream that a ``Client`` has opened."""

    def __init__(self, client: Client, head: Head) -> None:
        from h3py import EventParser  # here: most tests of the core need no whole package

        assert head.status == 200, f"no stream: {head}"
        self.client = client
        self.head = head
        self.parser = EventParser()
        self.raw = b""
        """Every byte of the stream so far, without the chunk framing."""
        self.ended = False
        self._chunked = ChunkedReader() if head.chunked else None
        self._events: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def read_events(self, count: int) -> list[Any]:
        """The next ``count`` events."""
        deadline = Deadline(self.client.deadline_s)
        while len(self._events) < count:
            assert not self.ended, f"the stream ended after {self._events} of {count} events"
            self._advance(deadline, f"event {len(self._events) + 1} of {count}")
        events, self._events = self._events[:count], self._events[count:]
        return events

    def read_event(self) -> Any:
        return self.read_events(1)[0]

    def read_raw_until(self, marker: bytes) -> None:
        """Wait until ``marker`` has come, for comments and fields that are no events."""
        deadline = Deadline(self.client.deadline_s)
        while marker not in self.raw:
            assert not self.ended, f"the stream ended before {marker!r}: {self.raw[-400:]!r}"
            self._advance(deadline, f"{marker!r}")

    def read_to_end(self) -> list[Any]:
        """The events that are left; the stream must end cleanly (a last chunk, or EOF on 1.0)."""
        deadline = Deadline(self.client.deadline_s)
        while not self.ended:
            self._advance(deadline, "the end of the stream")
        events, self._events = self._events, []
        return events

    def _advance(self, deadline: Deadline, what: str) -> None:
        client = self.client
        if not client.received:
            came = client._receive(deadline, what, end_is_fine=self._chunked is None)
            if not came:
                self.ended = True
                return
        data, client.received = client.received, b""
        if self._chunked is not None:
            data = self._chunked.feed(data)
            self.ended = self._chunked.ended
            client.received = self._chunked.rest
        self.raw += data
        self._events += self.parser.feed(data)
