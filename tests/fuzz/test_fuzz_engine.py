"""A short, repeatable run of the engine's fuzz target; long runs are by hand."""

from __future__ import annotations

import pytest

from tests.fuzz import fuzz_engine


@pytest.mark.parametrize("seed", range(4))
def test_engine(seed: int) -> None:
    fuzz_engine.run(rounds=60, seed=seed)


@pytest.mark.parametrize("case", [b"", b"\x00", bytes(range(256))])
def test_a_case_of_few_bytes(case: bytes) -> None:
    fuzz_engine.check(case)
