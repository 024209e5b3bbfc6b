"""The table of what is measured, and the goals.

The goals are ratios to the floor wherever the floor can do the same; absolute
ones are for a machine like the one the documentation describes.
"""

from __future__ import annotations

from bench.figures import FLOOR, GATHERED, OURS, Case, Figure, Goal, both
from bench.measures import (
    establish,
    gets_while_broadcasting,
    growth,
    memory,
    plain_gets,
    replay,
    return_to_manager,
    streams,
    to_one_user,
)

_OTHERS = ("sse-starlette", "aiohttp-sse")


def _latency(key: str, title: str) -> Figure:
    return Figure(key, title, "ms", False, goals=both(1.2, 1.0), digits=2)


def _fan_latency(name: str, rate: int, *, many: bool = False) -> Case:
    who = "10,000 streams" if many else "1,000 streams"
    cost = Figure("publish_us", "the broadcast call", "us", False, relative=False,
                  goals=both(20, 5), digits=1)  # fmt: skip
    cpu = Figure("cpu", "CPU", "core-s/s", False, goals=both(1.0, 0.9), digits=3)
    figures = (
        _latency("p50", "send to receive, p50"),
        _latency("p99", "send to receive, p99"),
        Figure("p999", "send to receive, p99.9", "ms", False, digits=2),
    )
    return Case(
        name,
        "Fan-out",
        f"{who}, {rate} events/s, 100-byte data",
        streams("/fan", size=100, rate=rate, many=many),
        (*figures, cpu, cost) if many else figures,
        others=() if many else _OTHERS,
    )


def _one_stream(kib: int, path: str, how: str, goals: dict[str, Goal], name: str) -> Case:
    return Case(
        f"{name}-{kib}k",
        "One stream",
        f"one stream, {kib} KB events, {how}",
        streams(path, size=kib * 1024, connections=1),
        (
            Figure("rate", "events/s", "", True, goals=goals),
            Figure("gbit", "Gbit/s", "", True, digits=1),
        ),
        contenders=(FLOOR, *OURS) if name == "driven" else (FLOOR, GATHERED, *OURS),
        others=_OTHERS if name == "driven" else (),
    )


_DRIVEN_GOALS = {"threads": Goal(0.7, 0.85), "trio": Goal(0.5, 0.7)}
_KIB = (1, 4, 16)


def _gathered_goals(kib: int) -> dict[str, Goal]:
    """Gathering saves system calls; from 4 KB on the bytes themselves are what costs."""
    return both(3, 5) if kib == 1 else {}


CASES: tuple[Case, ...] = (
    Case(
        "fan-flat",
        "Fan-out",
        "1,000 streams, flat out, 100-byte data",
        streams("/fan", size=100),
        (
            Figure("rate", "deliveries/s", "", True, goals=both(10, 20)),
            Figure("gbit", "Gbit/s", "", True, relative=False, goals=both(1.0), digits=2),
        ),
        contenders=(FLOOR, GATHERED, *OURS),
        others=_OTHERS,
    ),
    Case(
        "fan-100",
        "Fan-out",
        "1,000 streams, 100 events/s, 100-byte data",
        streams("/fan", size=100, rate=100),
        (
            Figure("cpu", "CPU", "core-s/s", False, goals=both(1.0, 0.9), digits=3),
            Figure("delivered", "delivered", "%", True, relative=False, goals=both(99), digits=1),
        ),
        others=_OTHERS,
        note="20 % of a 4-core machine are 0.8 core-seconds per second.",
    ),
    _fan_latency("fan-10", 10),
    _fan_latency("fan-50", 50),
    Case(
        "many-flat",
        "Fan-out",
        "10,000 streams, flat out, 100-byte data",
        streams("/fan", size=100, many=True),
        (Figure("rate", "deliveries/s", "", True, goals=both(10, 20)),),
        contenders=(FLOOR, GATHERED, *OURS),
    ),
    _fan_latency("many-10", 10, many=True),
    Case(
        "one-user",
        "Fan-out",
        "send_to_user among 10,000 users with a stream each, 500 calls/s, 100-byte data",
        to_one_user,
        (
            Figure("call_us", "the call", "us", False, relative=False, goals=both(20, 5), digits=1),
            Figure("p50", "send to receive, p50", "ms", False, digits=3),
            Figure("p99", "send to receive, p99", "ms", False, digits=3),
        ),
        contenders=OURS,
        note="The goals are those of a broadcast call: a call may cost no more for being aimed.",
    ),
    Case(
        "replay",
        "Fan-out",
        "100 clients return to 10,000 missed events each, 100-byte data",
        replay,
        (
            Figure("rate", "events/s", "", True, goals=both(3, 5)),
            Figure("cpu", "CPU", "core-s/s", False, digits=3),
        ),
        contenders=(FLOOR, GATHERED, *OURS),
        note=(
            "From the first connect to the last event. The C loop has no history: it sends as "
            "many events to as many streams. The goals are those of a parked stream."
        ),
    ),
    *(_one_stream(kib, "/driven", "one by one", _DRIVEN_GOALS, "driven") for kib in _KIB),
    *(_one_stream(kib, "/events", "send_events", _gathered_goals(kib), "events") for kib in _KIB),
    *(_one_stream(kib, "/fan", "parked", _gathered_goals(kib), "parked") for kib in _KIB),
    Case(
        "latency",
        "One stream",
        "one stream, 100 events/s, 1 KB events",
        streams("/fan", size=1024, rate=100, connections=1),
        (
            Figure(
                "p50",
                "send to receive, p50",
                "ms",
                False,
                relative=False,
                goals=both(1.0),
                digits=3,
            ),
            Figure(
                "p99",
                "send to receive, p99",
                "ms",
                False,
                relative=False,
                goals=both(10.0),
                digits=3,
            ),
            Figure(
                "payload_http",
                "payload of what HTTP carries",
                "%",
                True,
                relative=False,
                goals=both(90),
                digits=1,
            ),
            Figure(
                "payload_wire",
                "payload of the packets, TCP and IP included",
                "%",
                True,
                relative=False,
                goals=both(90),
                digits=1,
            ),
        ),
    ),
    Case(
        "get",
        "Requests, establishing, memory",
        "plain GET, 13 bytes, 64 connections",
        plain_gets,
        (
            Figure(
                "rate",
                "requests/s",
                "",
                True,
                goals={
                    "trio": Goal(1.0, 1.1, beside="sse-starlette"),
                    "threads": Goal(3.0, beside="gthread"),
                },
            ),
            Figure("p99", "p99", "ms", False, digits=2),
        ),
        others=(*_OTHERS, "gthread"),
        note=(
            "The goals are Starlette on uvicorn (trio) and three times gunicorn's gthread worker "
            "(threads), measured in the same run. gthread sends head and body apart and waits for "
            "the client's acknowledgement in between; where it does not it was seen to reach 0.045 "
            "of the floor."
        ),
    ),
    Case(
        "establish",
        "Requests, establishing, memory",
        "streams established: connect, request, first event, close",
        establish,
        (Figure("rate", "streams/s", "", True, relative=False, goals=both(8000, 15000)),),
        others=_OTHERS,
    ),
    Case(
        "establish-manager",
        "Requests, establishing, memory",
        "the same through SSEManager.subscribe: the first event is one that was missed",
        return_to_manager,
        (Figure("rate", "streams/s", "", True, relative=False, goals=both(8000, 15000)),),
    ),
    Case(
        "memory-parked",
        "Requests, establishing, memory",
        "memory per parked stream (a user and two channels)",
        memory("/fan", 10_000),
        (Figure("kib", "KiB", "", False, relative=False, goals=both(1.5, 0.8), digits=2),),
    ),
    Case(
        "memory-driven",
        "Requests, establishing, memory",
        "memory per driven stream",
        memory("/hold", 1000),
        (
            Figure(
                "kib",
                "KiB",
                "KiB",
                False,
                relative=False,
                goals={"trio": Goal(10, 7), "threads": Goal(20, 18)},
                digits=1,
            ),
        ),
        contenders=OURS,
    ),
    Case(
        "growth",
        "Requests, establishing, memory",
        "memory grown over 1,000,000 events on one stream",
        growth,
        (Figure("kib", "KiB", "", False, relative=False, goals=both(256)),),
        contenders=OURS,
    ),
    Case(
        "get-busy",
        "Requests, establishing, memory",
        "plain GETs while 10,000 streams receive 10 broadcasts/s",
        gets_while_broadcasting,
        (
            Figure(
                "times",
                "p99, as a multiple of the idle one",
                "x",
                False,
                relative=False,
                goals={"trio": Goal(3.0, 1.5)},
                digits=2,
            ),
            Figure("idle_p99", "p99, idle", "ms", False, digits=3),
            Figure("p99", "p99, busy", "ms", False, digits=3),
        ),
        contenders=OURS,
    ),
)
