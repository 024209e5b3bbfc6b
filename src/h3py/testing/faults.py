"""Faults on demand: failing allocations, failing and short sends.

Only a core that was compiled with ``-DH3PY_FAULTS`` has the hooks
(``faults_built()``). The plan is one for the whole process, so tests that plan
faults do not run beside others; it is taken back when the block is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from h3py._speedups import block


def faults_built() -> bool:
    """Whether this build of the core can inject faults."""
    return block.FAULTS_BUILT


@contextlib.contextmanager
def fault(
    kind: Literal["malloc", "send"],
    *,
    after: int = 1,
    times: int = 1,
    error: int = 0,
    max_bytes: int = 0,
) -> Iterator[None]:
    """Let allocations or sends of the core fail while the block runs.

    Args:
        kind: What fails.
        after: The call that fails first, counted from 1; 0: none, for short sends alone.
        times: How many calls fail in a row.
        error: The ``errno`` of a failing send (``errno.EINTR``, ``errno.EAGAIN``, ...).
        max_bytes: Sends take at most so many bytes each; 0: as many as the system takes.

    Raises:
        RuntimeError: This build has no fault hooks.
    """
    block.plan_fault(kind, after=after, times=times, error=error, max_bytes=max_bytes)
    try:
        yield
    finally:
        block.plan_fault(kind, after=0)
