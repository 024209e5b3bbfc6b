"""Checks of options that several parts share. Pure functions."""

from __future__ import annotations

from h3py.errors import ConfigError


def whole_number(what: str, value: object) -> int:
    """``value``, if it is an integer of 0 or more.

    Raises:
        ConfigError: It is not; ``what`` says in the message which option it was.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{what} must be a whole number, 0 or more, not {value!r}")
    return value
