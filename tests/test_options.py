"""Options: every field is checked when it is given, with one line that says what is wrong."""

from __future__ import annotations

import dataclasses
import inspect
import math
import ssl

import pytest

from h3py import ConfigError, Limits, ServeOptions, SSEEvent
from h3py.options import BACKENDS


def test_they_are_frozen_and_by_keyword() -> None:
    options = ServeOptions()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ServeOptions("trio")  # type: ignore[misc]
    assert dataclasses.replace(options, port=1).port == 1
    with pytest.raises(ConfigError):
        dataclasses.replace(options, port=-1)


def test_every_default_is_legal_and_documented() -> None:
    source = inspect.getsource(ServeOptions)
    for field in dataclasses.fields(ServeOptions):
        ServeOptions(**{field.name: getattr(ServeOptions(), field.name)})
        assert f"    {field.name}: " in source


DEFAULTS = {
    # Section "Defaults" of the documentation.
    "header_timeout_s": 10.0,
    "body_timeout_s": 30.0,
    "keep_alive_timeout_s": 75.0,
    "workers": 64,
    "max_sync_streams": 1000,
    "worker_wait_s": 5.0,
    "buffer_bytes": 8 * 1024,
    "reference_over_bytes": 4 * 1024,
    "max_queue_bytes": 64 * 1024,
    "max_event_bytes": 16 * 1024 * 1024,
    "max_memory_bytes": 256 * 1024 * 1024,
    "log_events": 10_000,
    "log_bytes": 64 * 1024 * 1024,
    "log_age_s": 3600.0,
    "notsent_lowat_bytes": 64 * 1024,
    "heartbeat_s": 30.0,
    "heartbeat_misses": 3,
    "slow_write_s": 0.1,
    "stall_timeout_s": 60.0,
    "linger_s": 2.0,
    "cleanup_timeout_s": 5.0,
    "drain_timeout_s": 10.0,
    "drain_window_s": 0.0,
    "farewell": None,
    "farewell_retry_ms": None,
    "max_streams_per_address": None,
    "retry_ms": 3000,
}


def test_the_defaults() -> None:
    options = ServeOptions()
    assert {name: getattr(options, name) for name in DEFAULTS} == DEFAULTS
    assert options.limits == Limits(
        request_line_bytes=8192, header_count=100, header_bytes=32768, body_bytes=1 << 20
    )
    assert (options.backend, options.host, options.port) == ("trio", "127.0.0.1", 3000)
    assert BACKENDS == ("trio", "threads")


COUNTS = (
    "backlog", "workers", "max_sync_streams", "buffer_bytes", "reference_over_bytes",
    "max_queue_bytes", "max_event_bytes", "heartbeat_misses", "pumps", "max_memory_bytes",
    "log_events", "log_bytes", "retry_after_s", "max_discard_bytes",
)  # fmt: skip
COUNTS_OR_NONE = (
    "max_connections", "max_streams", "max_streams_per_address", "notsent_lowat_bytes",
    "retry_ms", "farewell_retry_ms",
)  # fmt: skip
SECONDS = (
    "header_timeout_s", "body_timeout_s", "keep_alive_timeout_s", "write_timeout_s",
    "worker_wait_s", "slow_write_s", "linger_s", "cleanup_timeout_s", "log_age_s",
    "drain_timeout_s",
)  # fmt: skip
SECONDS_OR_NONE = ("heartbeat_s", "stall_timeout_s")


@pytest.mark.parametrize("name", [*COUNTS, *COUNTS_OR_NONE])
def test_counts_and_sizes(name: str) -> None:
    assert getattr(ServeOptions(**{name: 1}), name) == 1
    for wrong in (0, -1, 1.0, "1", True, *([] if name in COUNTS_OR_NONE else [None])):
        with pytest.raises(ConfigError, match=name) as error:
            ServeOptions(**{name: wrong})  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    if name in COUNTS_OR_NONE:
        assert getattr(ServeOptions(**{name: None}), name) is None


@pytest.mark.parametrize("name", [*SECONDS, *SECONDS_OR_NONE])
def test_times(name: str) -> None:
    for fine in (0, 0.5, 1e8):
        assert getattr(ServeOptions(**{name: fine}), name) == fine  # type: ignore[arg-type]
    unless = [] if name in SECONDS_OR_NONE else [None]
    for wrong in (-0.1, math.nan, math.inf, "1", True, *unless):
        with pytest.raises(ConfigError, match=name):
            ServeOptions(**{name: wrong})  # type: ignore[arg-type]
    if name in SECONDS_OR_NONE:
        assert getattr(ServeOptions(**{name: None}), name) is None


@pytest.mark.parametrize(
    "name", ["request_line_bytes", "header_count", "header_bytes", "body_bytes"]
)
def test_limits_of_a_request(name: str) -> None:
    least = 0 if name == "body_bytes" else 1
    assert getattr(Limits(**{name: least}), name) == least
    for wrong in (least - 1, 1.5, None, "8k", True):
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "asyncio"}, r"unknown backend 'asyncio': use 'trio' or 'threads'"),
        ({"port": -1}, "port must be 0 to 65535, not -1"),
        ({"port": 65536}, "port must be 0 to 65535"),
        ({"port": "80"}, "port must be an integer"),
        ({"unix_path": "/x", "fd": 3}, "unix_path or fd, not both"),
        ({"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "certificate": "x"}, "not both"),
        ({"private_key": "x"}, "private_key needs certificate"),
        ({"half_close": "maybe"}, "half_close must be 'close' or 'allow'"),
        ({"limits": {"body_bytes": 1}}, "limits must be a Limits, not dict"),
        ({"drain_window_s": 10.0}, r"drain_window_s must be below drain_timeout_s \(10\), not 10"),
        ({"drain_window_s": 1.0, "drain_timeout_s": 0.5}, "drain_window_s must be below"),
        ({"drain_window_s": -1.0}, "drain_window_s must be 0 or more"),
        ({"drain_window_s": "1"}, "drain_window_s must be a number"),
        ({"farewell": "bye"}, "farewell must be an SSEEvent, not str"),
        ({"farewell": SSEEvent("bye", retry=1)}, "farewell has a retry of its own"),
        ({"farewell": SSEEvent("x" * 200), "max_event_bytes": 100}, "farewell is larger than"),
    ],
)
def test_what_does_not_go_together(options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        ServeOptions(**options)  # type: ignore[arg-type]
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)


def test_a_window_that_leaves_time_to_end_and_a_farewell() -> None:
    options = ServeOptions(
        drain_window_s=9.9, farewell=SSEEvent("bye", event="server"), max_event_bytes=26
    )
    assert options.drain_window_s == 9.9
    assert ServeOptions(drain_window_s=0.0, drain_timeout_s=0.0).drain_timeout_s == 0.0


def test_options_are_built_from_an_object_and_keywords() -> None:
    base = ServeOptions(port=1, host="::1")
    assert ServeOptions.build(None, {}) == ServeOptions()
    assert ServeOptions.build(base, {}) == base
    built = ServeOptions.build(base, {"port": 2, "workers": 3})
    assert (built.port, built.workers, built.host) == (2, 3, "::1")
    with pytest.raises(ConfigError, match="unknown option 'prot'"):
        ServeOptions.build(base, {"prot": 2})
    with pytest.raises(ConfigError, match="port must be"):
        ServeOptions.build(base, {"port": 70_000})
