from typing import Literal, Self

from typing_extensions import disjoint_base

from h3py._speedups.clock import Clock
from h3py._speedups.reporting import Report

MAX_EPOCH: int

@disjoint_base
class EngineBase:
    def __new__(
        cls,
        *,
        pumps: int = 1,
        log_events: int = 10_000,
        log_bytes: int = 67108864,
        log_age_s: float = 3600.0,
        max_queue_bytes: int = 65536,
        max_memory_bytes: int = 268435456,
        heartbeat_s: float | None = 30.0,
        heartbeat_misses: int = 3,
        stall_timeout_s: float | None = 60.0,
        slow_write_s: float = 0.1,
        linger_s: float = 2.0,
        max_discard_bytes: int = 65536,
        half_close: Literal["close", "allow"] = "close",
        paging: bool = False,
        heartbeat_ids: bool = False,
        clock: Clock | None = None,
        threaded: bool = True,
        epoch: int | None = None,
    ) -> Self: ...
    def start(self) -> None: ...
    def step(self) -> bool: ...
    def shut_down(self) -> None: ...
    @property
    def report_fd(self) -> int: ...
    def reports(self, at_most: int = 1024) -> list[Report]: ...
