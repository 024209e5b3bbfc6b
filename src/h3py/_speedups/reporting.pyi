from typing import Any, Final, NamedTuple

__pyx_capi__: Final[dict[str, object]]  # the C functions that other compiled modules call

class Counters(NamedTuple):
    events: int
    sent_bytes: int
    dropped: int
    unsent: int

class Report(NamedTuple):
    kind: str
    handle: int
    owner: Any
    reason: int
    detail: Any
