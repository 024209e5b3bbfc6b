"""A short, repeatable run of the parser's fuzz target; long runs are by hand."""

from __future__ import annotations

import pytest

from tests.fuzz import fuzz_parse


@pytest.mark.parametrize("seed", range(4))
def test_parser(seed: int) -> None:
    fuzz_parse.run(rounds=1000, seed=seed)


def test_a_case_of_no_bytes() -> None:
    fuzz_parse.check(b"")
