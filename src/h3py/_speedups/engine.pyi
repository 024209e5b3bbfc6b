from collections.abc import Iterable, Mapping, Sequence
from typing import final

from h3py._speedups.engine_groups import EngineGroups
from h3py._speedups.format import SSEEvent
from h3py._speedups.reporting import Counters, Report

__all__ = ["Counters", "Engine", "Report"]

@final
class Engine(EngineGroups):
    def send(self, handle: int, piece: SSEEvent | bytes) -> None: ...
    def publish(
        self,
        event: SSEEvent,
        users: Iterable[str] = (),
        channels: Iterable[str] = (),
        clients: Iterable[str] = (),
        everyone: bool = False,
        key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        with_id: bool = True,
        version: int = 0,
    ) -> tuple[int, int] | None: ...
    def require(self, version: int) -> int: ...
    def drain(self, timeout_s: float | None = None, *, lagging: bool = False) -> bool: ...
    def ask_room(self) -> bool: ...
    def shutdown(
        self,
        *,
        reason: int,
        farewell: bytes | Sequence[bytes] | None = None,
        window_s: float = 0.0,
        deadline_s: float = 10.0,
    ) -> None: ...
    @property
    def epoch(self) -> int: ...
    def event_id(self, sequence: int) -> str: ...
    def position_of(self, event_id: str) -> int | None: ...
