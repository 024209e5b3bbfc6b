"""Reports: nothing is lost, nothing comes twice, and what they hold is let go of."""

from __future__ import annotations

import gc
import select
import sys
import weakref

import pytest

from h3py._speedups.engine import Counters, Report
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CLOSE_REASONS, CloseReason
from tests.speedups.support.rig import Owner, Rig


def readable(fd: int) -> bool:
    poll = select.poll()  # any number, where select() has 1,024
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def ended(rig: Rig, count: int) -> list[Owner]:
    """So many streams that have ended, and were not reported yet."""
    owners = []
    for n in range(count):
        owner = Owner(f"{n}")
        handle = rig.engine.adopt(-1, owner, WriteQueue(), chunked=True, indirect=True)
        rig.engine.step()
        rig.engine.close(handle, CloseReason.KICKED.code, flush=False)
        rig.engine.step()
        owners.append(owner)
    return owners


def test_the_codes_of_reasons_are_their_places() -> None:
    """The compiled core numbers them too."""
    with Rig() as rig:
        for place, reason in enumerate(CLOSE_REASONS, 1):
            stream = rig.adopt()
            assert rig.engine.close(stream.handle, place, flush=False)
            rig.settle()
            assert stream.closed_as is reason
            assert reason.code == place
        for wrong in (0, -1, len(CLOSE_REASONS) + 1):
            with pytest.raises(ValueError, match="the code of a CloseReason"):
                rig.engine.close(1, wrong)
            with pytest.raises(ValueError, match="the code of a CloseReason"):
                rig.engine.close_all(wrong)
            with pytest.raises(ValueError, match="the code of a CloseReason"):
                rig.engine.shutdown(reason=wrong)


def test_reasons_of_the_engine_s_own() -> None:
    """What the core calls by number is what Python calls by name."""
    with Rig(max_discard_bytes=0) as rig:
        left, noisy = rig.stream(), rig.stream()
        left.client.close()
        noisy.client.send(b"x")
        rig.settle(read=False)
        assert left.closed_as is CloseReason.CLIENT_CLOSED
        assert noisy.closed_as is CloseReason.LIMIT


def test_the_descriptor_is_readable_while_reports_wait() -> None:
    with Rig() as rig:
        fd = rig.engine.report_fd
        assert not readable(fd)
        ended(rig, 3)
        assert readable(fd)
        assert len(rig.engine.reports()) == 3
        assert not readable(fd)
        assert rig.engine.reports() == []


def test_a_part_of_them() -> None:
    with Rig() as rig:
        owners = ended(rig, 5)
        assert [report.owner for report in rig.engine.reports(2)] == owners[:2]
        assert readable(rig.engine.report_fd)
        assert [report.owner for report in rig.engine.reports(2)] == owners[2:4]
        assert readable(rig.engine.report_fd)
        assert [report.owner for report in rig.engine.reports(2)] == owners[4:]
        assert rig.engine.reports() == []
        assert not readable(rig.engine.report_fd)


def test_what_a_report_is() -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.publish("x")
        rig.settle()
        rig.engine.close(stream.handle, CloseReason.REPLACED.code, flush=False)
        rig.settle()
        (report,) = stream.reports
        assert report == Report(
            "closed", stream.handle, stream.owner, CloseReason.REPLACED.code,
            Counters(events=1, sent_bytes=45, dropped=0, unsent=0),
        )  # fmt: skip
        assert report.owner is stream.owner


def test_the_owner_is_let_go_of_with_its_last_report() -> None:
    with Rig() as rig:
        owner = ended(rig, 1).pop()
        gone = weakref.ref(owner)
        before = sys.getrefcount(owner)
        (report,) = rig.engine.reports()
        assert sys.getrefcount(owner) == before  # the report has it now
        del report, owner
        assert gone() is None


def test_owners_of_watched_connections_are_let_go_of() -> None:
    with Rig() as rig:
        ours, theirs = rig.pair()
        rig.watched += [ours, theirs]
        owner = Owner("watched")
        gone = weakref.ref(owner)
        handle = rig.engine.watch(ours.fileno(), owner)
        del owner
        gc.collect()
        assert gone() is not None
        rig.engine.unwatch(handle)
        assert gone() is None


def test_an_engine_that_dies_lets_go_of_owners() -> None:
    rig = Rig()
    ours, theirs = rig.pair()
    owner = Owner("watched")
    parked = Owner("parked")
    gone = [weakref.ref(owner), weakref.ref(parked)]
    rig.engine.watch(ours.fileno(), owner)
    rig.engine.adopt(-1, parked, WriteQueue(), chunked=True, indirect=True)
    del owner, parked, rig.engine
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    with ours, theirs:
        theirs.send(b"still open")
        assert ours.recv(100) == b"still open"


def test_an_owner_whose_end_runs_code_of_its_own() -> None:
    """Whatever it does to the engine, from within ``unwatch`` or ``reports``."""
    with Rig() as rig:
        seen = []

        class Busy:
            def __del__(self) -> None:
                rig.engine.publish.__self__.stats()
                handle = rig.engine.adopt(-1, None, WriteQueue(), chunked=True, indirect=True)
                rig.engine.close(handle, 1, flush=False)
                seen.append(rig.engine.reports())

        ours, theirs = rig.pair()
        rig.watched += [ours, theirs]
        handle = rig.engine.watch(ours.fileno(), Busy())
        rig.engine.unwatch(handle)
        parked = rig.engine.adopt(-1, Busy(), WriteQueue(), chunked=True, indirect=True)
        rig.engine.close(parked, 1, flush=False)
        rig.engine.step()
        for _ in range(4):
            rig.engine.reports()
            rig.engine.step()
        assert len(seen) == 2


def test_several_kinds_of_one_connection_come_in_one_order() -> None:
    with Rig(max_queue_bytes=2000, slow_write_s=0.1) as rig:
        stream = rig.stream(tiny=True)
        while rig.engine.info(stream.handle)["state"] != "lagging":  # type: ignore[index]
            rig.publish("x" * 700)
            rig.engine.step()
        rig.clock.advance(1.0)
        stream.client.close()
        rig.engine.step()
        rig.engine.step()
        rig.take_reports()
        assert stream.kinds == ["slow", "lagging", "closed"]


def test_each_reset_is_reported_before_the_stream_is_live_again() -> None:
    with Rig(log_events=8) as rig:
        for n in range(20):
            rig.publish(f"{n}")
            rig.step()
        lost, known = rig.adopt(), rig.adopt()
        rig.engine.subscribe(lost.handle, lost=True)
        rig.engine.subscribe(known.handle, position=5)
        rig.settle()
        for stream in (lost, known):
            assert stream.kinds == ["reset", "caught_up"]
            assert stream.reports[0].detail is None
            assert [event.event for event in stream.events] == ["h3py:reset"]
        rig.publish("more")
        rig.settle()
        assert "reset" not in lost.kinds[2:]


def test_two_resets_that_nobody_took_word_of_are_two_reports() -> None:
    with Rig(log_events=16, max_queue_bytes=2000) as rig:
        stream = rig.stream(tiny=True)
        while sum(event.event == "h3py:reset" for event in stream.events) < 2:
            # Without taking reports: it lags, the log forgets, it reads on.
            for _ in range(40):
                rig.publish("x" * 700)
                rig.engine.step()
            while stream.read():
                rig.engine.step()
        rig.take_reports()
        assert stream.kinds == ["lagging", "reset", "reset", "caught_up"]
