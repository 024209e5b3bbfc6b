"""A short, repeatable run of the request parser's fuzz target; long runs are by hand."""

from __future__ import annotations

import pytest

from tests.fuzz import fuzz_request


@pytest.mark.parametrize("seed", range(4))
def test_request_parser(seed: int) -> None:
    fuzz_request.run(rounds=500, seed=seed)


@pytest.mark.parametrize("case", [b"", b"\x00", b"\x00\x00"])
def test_a_case_of_no_bytes(case: bytes) -> None:
    fuzz_request.check(case)
