"""Checks of options."""

from __future__ import annotations

from typing import Any

import pytest

from h3py.app.checks import whole_number
from h3py.errors import ConfigError


@pytest.mark.parametrize("value", [0, 1, 10**12])
def test_whole_numbers(value: int) -> None:
    assert whole_number("x", value) == value


@pytest.mark.parametrize("value", [-1, 1.0, "1", None, True])
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match="option x must be a whole number"):
        whole_number("option x", value)
