from typing import Final, Literal

from h3py._speedups.engine_base import EngineBase
from h3py._speedups.write_queue import WriteQueue

__pyx_capi__: Final[dict[str, object]]  # the C functions that other compiled modules call

_Policy = Literal["close", "catch_up", "drop_new", "drop_oldest", "keep_latest"]

class EngineStreams(EngineBase):
    def watch(self, fd: int, owner: object, *, discard: bool = True) -> int: ...
    def unwatch(self, handle: int) -> None: ...
    def want_writable(self, handle: int) -> bool: ...
    def adopt(
        self,
        fd: int,
        owner: object,
        queue: WriteQueue,
        *,
        chunked: bool,
        handle: int = 0,
        policy: _Policy = "close",
        max_queue_bytes: int | None = None,
        heartbeat: bool = True,
        max_age_s: float | None = None,
        age_reason: int | None = None,
        lease_s: float | None = None,
        indirect: bool = False,
        close_fd: bool = True,
        held: bool = False,
    ) -> int: ...
    def close(self, handle: int, reason: int, *, flush: bool = True) -> bool: ...
    def close_all(self, reason: int) -> None: ...
