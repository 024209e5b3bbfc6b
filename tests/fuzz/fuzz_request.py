"""A fuzz target for the request parser. Its invariant:

    Any bytes, cut anywhere, become requests or end in one documented error, and
    what is taken for a request llhttp alone takes for the same one, body included.

``check`` takes one case as bytes, so that any fuzzer can drive it. The little one
below puts seeds in a row and spoils them; it is bounded by rounds and repeats
itself for the same seed. A long run by hand::

    python -m tests.fuzz.fuzz_request --rounds 1000000 --seed 7
"""

from __future__ import annotations

import argparse
import random

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from h3py.http import RequestParser
from h3py.options import Limits
from tests.http.support import bytewise, cut, feed_all, outcome

STATUSES = {400, 413, 414, 417, 431, 501, 505}
LIMITS = [
    Limits(),
    Limits(request_line_bytes=60, header_count=8, header_bytes=200, body_bytes=64),
]

BYTES = [bytes([byte]) for byte in b'\r\n\0\t :;,="\x0b\x7f\x80\xa0019fF+-_x#?*/@']
ENDS = [b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\r\n"]
FIELDS = [
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Proxy-Connection: close\r\n",
    b"Expect: x\r\n",
    b"X: y\r\n",
    b" z\r\n",
]
WORDS = [b"HTTP/1.1", b"HTTP/1.2", b"HTTP/2.0", b"GET", b"CONNECT", b"chunked", b"close"]
CHUNKS = [b"0\r\n\r\n", b"5\r\n", b"f" * 16, b"0" * 16, b"0x", b";a=b"]
TOKENS = BYTES + ENDS + FIELDS + WORDS + CHUNKS
SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a?b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;x="y"\r\nT: t\r\n\r\n',
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n",
    b"PUT http://h/p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
]


class SecondOpinion:
    """What llhttp reads in a connection's bytes when it is given all of them."""

    def __init__(self, wire: bytes) -> None:
        self.requests: list[tuple[str, bytes, bytes]] = []
        self.gave_up = False
        """It left HTTP, or refused trailers that we drop unread: what follows it cannot tell."""
        self._url = self._body = b""
        self._in_chunks = False
        self._llhttp = HttpRequestParser(self)
        self._llhttp.set_dangerous_leniencies(lenient_keep_alive=True, lenient_version=True)
        try:
            self._llhttp.feed_data(wire)
        except HttpParserUpgrade:
            self.requests.pop()  # without its body, which httptools leaves to "the new protocol"
            self.gave_up = True
        except HttpParserError as error:
            about = str(error)
            framing = "Transfer-Encoding" in about or "Content-Length" in about
            self.gave_up = framing and self._in_chunks

    def on_message_begin(self) -> None:
        self._url = self._body = b""
        self._in_chunks = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_chunk_header(self) -> None:
        self._in_chunks = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.requests.append((self._llhttp.get_method().decode(), self._url, self._body))


def check(case: bytes) -> None:
    """Raises unless the invariant holds: the first two bytes are limits and cuts."""
    limits = LIMITS[case[0] % len(LIMITS)] if case else LIMITS[0]
    draw = random.Random(case[1] if len(case) > 1 else 0)
    wire = case[2:]
    cuts = [draw.randrange(len(wire) + 1) for _ in range(draw.randrange(6))]
    outcomes = []
    for parts in ([wire], cut(wire, cuts), bytewise(wire)):
        parser = RequestParser(limits)
        outcomes.append(outcome(parser, feed_all(parser, parts)))
    got = outcomes[0]
    error, requests = got["error"], got["requests"]
    ours = [(request[0], request[1].encode("ascii"), request[-1]) for request in requests]
    opinion = SecondOpinion(wire)
    theirs = opinion.requests
    # It reads on past the end of a connection, and past what we alone refuse.
    last = error is not None or (bool(requests) and not requests[-1][6])
    if not (
        outcomes[1:] == [got, got]
        and (error is None or error[0] in STATUSES)
        and ours[: len(theirs)] == theirs[: len(ours)]
        and (opinion.gave_up or len(ours) == len(theirs) or (last and len(ours) < len(theirs)))
    ):
        raise AssertionError(f"case {case!r}\n  gave {outcomes}\n  llhttp gave {theirs}")


def generate(draw: random.Random) -> bytes:
    """Seeds in a row, with up to eight changes."""
    wire = bytearray(b"".join(draw.choices(SEEDS, k=draw.randint(1, 4))))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 8))):
        at = draw.randint(0, len(wire))
        change = draw.randrange(6)
        if change == 0:
            wire[at : at + 1] = bytes([draw.randrange(256)])
        elif change == 1:
            del wire[at : at + draw.randint(1, 4)]
        elif change == 2:
            wire[at:at] = wire[at : at + draw.randint(1, 30)]
        else:
            wire[at : at + draw.choice((0, 0, 1, 2))] = draw.choice(TOKENS)
    return draw.randbytes(2) + wire


def run(rounds: int, seed: int) -> None:
    """Check that many cases; the same seed gives the same ones."""
    draw = random.Random(seed)
    for _ in range(rounds):
        check(generate(draw))


def main() -> None:
    """The command line."""
    options = argparse.ArgumentParser(description="Fuzz the request parser.")
    options.add_argument("--rounds", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    run(chosen.rounds, chosen.seed)


if __name__ == "__main__":
    main()
