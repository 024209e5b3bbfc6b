"""Every option of a manager: its default, its limits, and one past each."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from h3py import ConfigError, ManagerOptions, SSEManager
from h3py.manager.options import POLICIES

DEFAULTS = {
    "policy": None,
    "notices": False,
    "max_queue_bytes": 64 * 1024,
    "max_memory_bytes": 256 * 1024 * 1024,
    "pumps": 1,
    "max_streams_per_user": 100,
    "max_channels": 100,
    "max_name_bytes": 128,
    "retry_after_s": 5,
    "heartbeat_s": 30.0,
    "heartbeat_misses": 3,
    "heartbeat_ids": False,
    "lease_s": None,
    "max_age_s": None,
    "stall_timeout_s": 60.0,
    "slow_write_s": 0.1,
    "linger_s": 2.0,
    "max_discard_bytes": 64 * 1024,
    "half_close": "close",
    "clock": None,
}
"""What design section 13 promises."""

INTEGERS = {  # smallest, largest
    "max_queue_bytes": (1, 2**31 - 1),
    "max_memory_bytes": (1, None),
    "pumps": (1, 64),
    "max_streams_per_user": (1, None),
    "max_channels": (1, None),
    "max_name_bytes": (1, None),
    "retry_after_s": (1, None),
    "heartbeat_misses": (1, None),
    "max_discard_bytes": (1, None),
}
TIMES = {  # whether 0 is legal, and None
    "heartbeat_s": (False, True),
    "lease_s": (False, True),
    "max_age_s": (False, True),
    "stall_timeout_s": (False, True),
    "slow_write_s": (True, False),
    "linger_s": (True, False),
}
LONGEST_S = 3_999_999


def build(**changes: Any) -> ManagerOptions:
    return ManagerOptions.build(changes)


def test_defaults() -> None:
    assert {
        field.name: getattr(build(), field.name) for field in fields(ManagerOptions)
    } == DEFAULTS


def test_every_option_is_of_a_kind_that_is_tested_here() -> None:
    others = {"policy", "notices", "heartbeat_ids", "half_close", "clock"}
    assert {*INTEGERS, *TIMES, *others} == set(DEFAULTS)


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        build().pumps = 2  # type: ignore[misc]  # that is the point


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="unknown option 'pump'"):
        build(pump=1)
    with pytest.raises(ConfigError, match="unknown option 'pump'"):
        SSEManager(pump=1)


@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name: str) -> None:
    least, most = INTEGERS[name]
    assert getattr(build(**{name: least}), name) == least
    for wrong in (least - 1, "7", 7.0, True):
        with pytest.raises(ConfigError, match=name):
            build(**{name: wrong})
    if most is not None:
        assert getattr(build(**{name: most}), name) == most
        with pytest.raises(ConfigError, match=f"{name} must be at most {most}"):
            build(**{name: most + 1})


def test_streams_per_user_may_be_without_limit() -> None:
    assert build(max_streams_per_user=None).max_streams_per_user is None


@pytest.mark.parametrize("name", TIMES)
def test_times(name: str) -> None:
    zero, none = TIMES[name]
    assert getattr(build(**{name: LONGEST_S}), name) == LONGEST_S
    for wrong in (-0.001, LONGEST_S + 1, math.nan, math.inf, "1", True):
        with pytest.raises(ConfigError, match=name):
            build(**{name: wrong})
    for value, legal in ((0, zero), (None, none)):
        if legal:
            assert getattr(build(**{name: value}), name) == value
        else:
            with pytest.raises(ConfigError, match=name):
                build(**{name: value})


@pytest.mark.parametrize("policy", POLICIES)
def test_policies(policy: str) -> None:
    assert build(policy=policy).policy == policy


def test_choices() -> None:
    assert set(POLICIES) == {"close", "catch_up", "drop_new", "drop_oldest", "keep_latest"}
    with pytest.raises(ConfigError, match=r"policy must be one of .*catch_up.*, not 'lose'"):
        build(policy="lose")
    assert build(half_close="allow").half_close == "allow"
    with pytest.raises(ConfigError, match="half_close"):
        build(half_close="deny")
