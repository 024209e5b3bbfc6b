from typing import Final

__pyx_capi__: Final[dict[str, object]]  # the C functions that other compiled modules call

FAULTS_BUILT: bool

def plan_fault(
    kind: str, *, after: int = 1, times: int = 1, error: int = 0, max_bytes: int = 0
) -> None: ...
def release_borrowed() -> int: ...
