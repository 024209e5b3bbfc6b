"""Subscribing: all of it at once, or nothing."""

from __future__ import annotations

import pytest

from h3py._speedups.block import plan_fault
from h3py._speedups.format import SSEEvent
from h3py.close_reason import CloseReason
from h3py.errors import AllocationError, ManagerClosed
from tests.speedups.support.rig import Rig


def test_a_later_subscription_adds_groups_and_changes_the_policy() -> None:
    with Rig() as rig:
        stream = rig.adopt()
        rig.engine.subscribe(stream.handle, channels=["a"], everyone=False, policy="drop_new")
        rig.engine.subscribe(stream.handle, channels=["b"], users=["u"])
        rig.step()
        assert stream.info["policy"] == "drop_new"
        assert len(stream.info["groups"]) == 4
        rig.engine.subscribe(stream.handle, policy="catch_up")
        rig.step()
        assert stream.info["policy"] == "catch_up"


@pytest.mark.parametrize("terms", [{"position": 0}, {"where": {"k": ["v"]}}, {"lost": True}])
def test_what_belongs_to_the_first_one(terms: dict[str, object]) -> None:
    with Rig() as rig:
        stream = rig.stream(channels=["a"])
        memory = rig.engine.memory_bytes
        with pytest.raises(ValueError, match="first subscription"):
            rig.engine.subscribe(stream.handle, channels=["b"], **terms)  # type: ignore[arg-type]
        assert rig.engine.memory_bytes == memory
        assert ("channel", "b") not in stream.info["groups"]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"position": -1}, "position must be 0 or more"),
        ({"policy": "wait"}, "policy must be one of close, catch_up"),
        ({"channels": [""]}, "has 0 bytes"),
    ],
)
def test_terms_that_cannot_be(terms: dict[str, object], message: str) -> None:
    with Rig() as rig:
        stream = rig.adopt()
        with pytest.raises(ValueError, match=message):
            rig.engine.subscribe(stream.handle, **terms)  # type: ignore[arg-type]
        rig.step()
        assert stream.info["groups"] == []
        # It was no subscription: the first one is still to come.
        rig.engine.subscribe(stream.handle, position=0)


def test_no_subscription_while_the_engine_shuts_down() -> None:
    with Rig() as rig:
        stream = rig.adopt()
        rig.engine.shutdown(reason=CloseReason.SHUTDOWN.code)
        with pytest.raises(ManagerClosed, match="shutting down"):
            rig.engine.subscribe(stream.handle)
        with pytest.raises(ManagerClosed, match="shutting down"):
            rig.engine.join(stream.handle, channels=["a"])
        rig.engine.leave(stream.handle, channels=["a"])


def test_a_policy_comes_with_what_was_published_before_it() -> None:
    """It is there before the first event: the stream was adopted with another."""
    with Rig(max_queue_bytes=1000) as rig:
        stream = rig.adopt(tiny=True, policy="close")
        rig.engine.subscribe(stream.handle, policy="drop_new")
        for _ in range(40):
            rig.publish("x" * 500)
        rig.settle(read=False)
        assert stream.closed_as is None
        assert stream.info["dropped"] > 0


@pytest.mark.faults
@pytest.mark.parametrize("after", range(1, 8))
def test_no_memory_changes_nothing(after: int) -> None:
    """Whichever allocation of a subscription fails."""
    with Rig() as rig:
        stream = rig.adopt()
        rig.step()
        before = rig.engine.memory_bytes
        plan_fault("malloc", after=after)
        try:
            rig.engine.subscribe(
                stream.handle, channels=["a", "b", "c"], where={"k": ["v"]}, position=0
            )
        except AllocationError:
            assert rig.engine.memory_bytes == before
            plan_fault("malloc", after=0)
            rig.engine.subscribe(
                stream.handle, channels=["a", "b", "c"], where={"k": ["v"]}, position=0
            )
        else:
            assert after > 5
        finally:
            plan_fault("malloc", after=0)
        rig.engine.publish(SSEEvent("x"), channels=["a"], metadata={"k": "v"})
        rig.settle()
        assert stream.data == ["x"]


@pytest.mark.faults
def test_no_memory_in_a_pump_ends_the_stream_at_hand() -> None:
    """And no other, whichever allocation it was."""
    for after in range(1, 12):
        with Rig() as rig:
            streams = [rig.stream(channels=["a"]) for _ in range(4)]
            for n in range(20):
                rig.publish(f"{n}", everyone=True, key="k" if n % 2 else None)
            plan_fault("malloc", after=after)
            rig.engine.step()
            plan_fault("malloc", after=0)
            rig.settle()
            ended = [stream for stream in streams if stream.closed_as is not None]
            assert len(ended) <= 1
            assert all(stream.closed_as is CloseReason.LIMIT for stream in ended)
            for stream in streams:
                if stream not in ended:
                    assert stream.data == [f"{n}" for n in range(20)]


def test_a_client_s_own_events_are_not_brought_back_by_a_new_connection() -> None:
    """Users', channels' and everyone's are. Its own serve lag, and what comes from now on."""
    with Rig() as rig:
        first = rig.stream(client="me", users=["u"], channels=["c"])
        for n, targets in enumerate(
            ({"clients": ["me"]}, {"users": ["u"]}, {"channels": ["c"]}, {"everyone": True})
        ):
            rig.publish(f"{n}", **targets)
        rig.publish("both", clients=["me"], channels=["c"])
        rig.settle()
        assert first.data == ["0", "1", "2", "3", "both"]
        again = rig.adopt()
        rig.engine.subscribe(again.handle, client="me", users=["u"], channels=["c"], position=0)
        rig.publish("after", clients=["me"])
        rig.settle()
        assert again.data == ["1", "2", "3", "both", "after"]


def test_what_the_log_has_lost_of_a_client_s_own_events_is_no_loss_to_a_new_connection() -> None:
    with Rig(log_events=4) as rig:
        first = rig.stream(client="me", everyone=False)
        for n in range(8):
            rig.publish(f"{n}", clients=["me"])
            rig.step()
        assert first.state == "live"
        again = rig.adopt()
        rig.engine.subscribe(again.handle, client="me", everyone=False, position=1)
        rig.settle()
        assert again.kinds == ["caught_up"]
        assert again.events == []


def test_a_client_s_own_events_serve_its_lag() -> None:
    with Rig(max_queue_bytes=2000) as rig:
        stream = rig.stream(tiny=True, client="me")
        sent = rig.fill(stream, "lagging")
        for n in range(10):
            rig.publish(f"mine-{n}", clients=["me"])
            sent.append(f"mine-{n}")
            rig.step()
        rig.settle()
        assert stream.data == sent
