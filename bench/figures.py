"""What is measured, in what unit, and what has to be reached: plain values, checked when built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

FLOOR = "floor"
GATHERED = "gathered"
OURS = ("trio", "threads")
OTHERS = {
    "sse-starlette": "bench.others.starlette_server",
    "aiohttp-sse": "bench.others.aiohttp_server",
    "gthread": "bench.others.gthread_server",
}
"""Servers to compare with, and the module that runs each; see bench/others."""

Sample = dict[str, float]
"""One measurement of one contender: figures by their key."""


@dataclass(frozen=True)
class Goal:
    """A figure to reach: ``must`` at least, ``after`` what is hoped for.

    ``beside`` names the other server that a relative goal is a multiple of; else the floor.
    """

    must: float
    after: float | None = None
    beside: str = FLOOR


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    key: str
    title: str
    unit: str
    higher_is_better: bool
    # Whether the goals are ratios to the floor of the same run, or values in `unit`.
    relative: bool = True
    goals: Mapping[str, Goal] = field(default_factory=dict)
    digits: int = 0

    def __post_init__(self) -> None:
        for name in self.goals:
            if name not in OURS:
                raise ValueError(f"{self.title}: no goal can be set for {name!r}")

    def reached(self, value: float, goal: float) -> bool:
        """Whether ``value`` (a ratio where the goals are) is as good as ``goal``."""
        return value >= goal if self.higher_is_better else value <= goal


@dataclass(frozen=True)
class Scale:
    """How long a run measures: in full, or a quick look."""

    name: Literal["full", "quick"]
    rounds: int
    warmup_s: float
    window_s: float
    connections: int
    many_connections: int


FULL = Scale("full", 5, 1.0, 3.0, 1000, 10_000)
QUICK = Scale("quick", 2, 0.4, 1.0, 1000, 10_000)


@dataclass(frozen=True)
class Case:
    """Figures that come from one kind of run.

    Attributes:
        measure: Runs one contender once. Called in turn for all of them, round by round.
        contenders: Who takes part, in the order of the table.
        others: Who else does, where it is installed.
    """

    name: str
    group: str
    title: str
    measure: Callable[[str, Scale], Sample]
    figures: tuple[Figure, ...]
    contenders: tuple[str, ...] = (FLOOR, *OURS)
    others: tuple[str, ...] = ()
    note: str = ""


def both(must: float, after: float | None = None) -> dict[str, Goal]:
    """The same goal for both backends."""
    return {name: Goal(must, after) for name in OURS}
