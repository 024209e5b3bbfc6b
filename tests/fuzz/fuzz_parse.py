"""A fuzz target for the parser. Its invariant:

    Any bytes, cut anywhere, give the events that the standard gives, up to the
    line at which an event passes the limit, where there is ``EventTooLarge``,
    and nothing else.

``check`` takes one case as bytes, so that any fuzzer can drive it. The little one
below mutates and splices its own seeds, without a guide; it is bounded by rounds
and repeats itself for the same seed. A long run by hand::

    python -m tests.fuzz.fuzz_parse --rounds 1000000 --seed 7
"""

from __future__ import annotations

import argparse
import random

from h3py._speedups.parse import EventParser
from h3py.errors import EventTooLarge
from tests.speedups import reference

BYTES = [bytes([byte]) for byte in b"\n\r\0: x0+\xef\xbb\xbf\xe2\xff"]
ENDS = [b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"]
LINES = [b"data: x\n", b"event: e\n", b"id: 1\n", b"id\n", b"retry: 10\n", b": c\n", b"Data: x\n"]
PARTS = [b"data", b"data:", b"retry: 99999999999999999999\n", b"d" * 50, b"data\n" * 8]
UTF8 = [b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xed\xa0\x80", "漢😀".encode()]
TOKENS = BYTES + ENDS + LINES + PARTS + UTF8
SEEDS = [
    b"\xef\xbb\xbf: hello\nid: 7\nevent: tick\nretry: 500\ndata: one\ndata: two\n\ndata: three\n\n",
    b"data:a\r\rid\r\ndata\r\n\r\nid: \xff\xfe\ndata: \xf0\x9f\x98\n\n",
    b"data: " + b"x" * 200 + b"\n\n" + b"event: y\n" * 5 + b"data\n\n",
]


def check(case: bytes) -> None:
    """Raises unless the invariant holds: the first two bytes are limit and cuts."""
    limit = [1 << 20, 1, 2, 5, 10, 20, 40, 80][case[0] % 8] if case else 1 << 20
    step = case[1] if len(case) > 1 else 0
    stream = case[2:]
    before = reference.before_too_large(stream, limit)
    expected = reference.parse(stream if before is None else before)

    parser = EventParser(max_event_bytes=limit)
    events: list[reference.Event] = []
    cuts = random.Random(step)
    at = 0
    try:
        while at < len(stream):
            size = cuts.randint(0, step) if step else len(stream)
            received = parser.feed(stream[at : at + size])
            events += [(event.type, event.data, event.last_event_id) for event in received]
            at += size
        parser.feed(b"")
        too_large = False
    except EventTooLarge:
        too_large = True
    got = events, too_large, parser.retry, parser.last_event_id, parser.comment_count
    wanted = (
        expected.events,
        before is not None,
        expected.retry,
        expected.last_event_id,
        expected.comments,
    )
    if got != wanted:
        raise AssertionError(f"case {case!r}\n  gave {got}\n  not  {wanted}")


def mutated(case: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """The case with one to six changes."""
    for _ in range(draw.randint(1, 6)):
        a, b = sorted((draw.randint(0, len(case)), draw.randint(0, len(case))))
        change = draw.randrange(6)
        if change == 0:
            case = case[:a] + draw.choice(TOKENS) + case[a:]
        elif change == 1:
            case = case[:a] + draw.choice(TOKENS) + case[b:]
        elif change == 2:
            case = case[:a] + case[a:b] * 2 + case[b:]
        elif change == 3:
            case = case[:a] + draw.randbytes(draw.randint(1, 4)) + case[a:]
        elif change == 4:
            case = case[:a] + case[a + draw.randint(0, 8) :]
        else:
            case = case[:a] + draw.choice(others)[draw.randint(0, 20) :]
    return case[:2000]


def run(rounds: int, seed: int) -> None:
    """Checks that many cases; the same ones for the same seed."""
    draw = random.Random(seed)
    corpus = [b"\0\0" + stream for stream in SEEDS]
    for _ in range(rounds):
        case = draw.randbytes(2) + mutated(draw.choice(corpus), corpus, draw)[2:]
        check(case)
        # Some children become parents, so that changes add up.
        if draw.random() < 0.1:
            corpus.append(case)
        if len(corpus) > 500:
            del corpus[draw.randrange(len(SEEDS), len(corpus))]


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Fuzz the event stream parser.")
    options.add_argument("--rounds", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    run(given.rounds, given.seed)
