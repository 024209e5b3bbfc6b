"""The order in which connections are served rotates: nobody is always last.

Seen by letting several connections of one engine write to the same socket, each through a
descriptor of its own: what its other end reads first was sent first. Which connection sent it is
told by the event of its own channel.
"""

from __future__ import annotations

import re
import socket

from h3py._speedups.clock import Clock
from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason

STREAMS = 4
ROUNDS = 12


def engine_on(ours: socket.socket) -> tuple[Engine, list[int]]:
    """A stepped engine with some connections that share a socket."""
    engine = Engine(threaded=False, clock=Clock(), heartbeat_s=None)
    handles = []
    for _ in range(STREAMS):
        copy = ours.dup()
        copy.setblocking(False)
        queue = WriteQueue(chunked=False)
        handles.append(engine.adopt(copy.detach(), None, queue, chunked=False, heartbeat=False))
    return engine, handles


def settle(engine: Engine) -> None:
    while engine.step():
        continue


def end(engine: Engine) -> None:
    engine.shutdown(reason=CloseReason.SHUTDOWN.code, deadline_s=0.0)
    engine.shut_down()
    while engine.reports():
        continue


def test_who_is_sent_to_first_changes_from_event_to_event() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        engine, handles = engine_on(ours)
        for number, handle in enumerate(handles):
            engine.subscribe(handle, channels=["all", f"own-{number}"])
        settle(engine)
        firsts = []
        for _ in range(ROUNDS):
            # The event for all decides who is looked at first; the others tell who is who.
            engine.publish(SSEEvent("x"), channels=["all"], with_id=False)
            for number in range(STREAMS):
                engine.publish(SSEEvent(str(number)), channels=[f"own-{number}"], with_id=False)
            settle(engine)
            sent = re.findall(rb"data: (\d)", theirs.recv(65536))
            assert sorted(sent) == [b"%d" % number for number in range(STREAMS)]
            firsts.append(sent[0])
        assert set(firsts) == {b"%d" % number for number in range(STREAMS)}
        end(engine)
