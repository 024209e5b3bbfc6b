"""The documentation says what the source says.

``python tools/generated_docs.py`` writes what is compared here.
"""

from __future__ import annotations

import builtins
import importlib.util
import re
from dataclasses import fields
from types import ModuleType

import pytest

from h3py import CloseReason, Limits, MemoryBroker, ServeOptions, SSEManager, Subscription, errors
from h3py.manager import ManagerOptions
from h3py.manager.options import POLICIES
from h3py.options import KIB, MIB
from tests.support.process import ROOT

AGAIN = "run: python tools/generated_docs.py"


def imported(name: str, path: str) -> ModuleType:
    """A module, from its file in tools/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """What writes the generated pages."""
    return imported("generated_docs", "generated_docs.py")


def page(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_options_are_those_of_the_source(generated: ModuleType) -> None:
    text = page("docs/options.md")
    assert text == generated.options_page(), AGAIN
    for field in (*fields(ServeOptions), *fields(Limits), *fields(ManagerOptions)):
        assert f"| `{field.name}` |" in text
    assert not re.search(r"\|\s+\|$", text, re.M), "an option without a word"


def test_the_map_has_every_file(generated: ModuleType) -> None:
    text = page("docs/architecture.md")
    assert generated.file_map() in text, AGAIN
    listed = set(re.findall(r"^\| `([\w.]+)` \|", generated.file_map(), re.M))
    src = ROOT / "src" / "h3py"
    there = {path.name for path in src.rglob("*.py") if path.read_text().strip()}
    there |= {path.name for suffix in ("pyx", "h") for path in src.rglob(f"*.{suffix}")}
    there |= {path.name for path in src.rglob("*.pxd") if not path.with_suffix(".pyx").exists()}
    assert there <= listed
    assert not re.search(r"^\| `[\w.]+` \|\s*\|", generated.file_map(), re.M), "without a purpose"


def test_the_lines_in_the_readme_are_about_right(generated: ModuleType) -> None:
    rows = list(generated.CODE_ROW.finditer(page("README.md")))
    assert len(rows) >= 6
    for row in rows:
        lines = generated.code_lines(row["folders"])
        assert abs(lines - int(row["lines"])) <= max(100, lines / 5), (row["folders"], AGAIN)


def test_every_error_is_explained() -> None:
    text = page("docs/errors.md")
    names = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.H3Error)
    }
    tree, _, explained = text.partition("A handler meets these")
    assert {name for name in names if name not in tree} == set()
    roots = {"H3Error", "SSEError", "H3ConnectionError"}
    assert {name for name in names - roots if f"`{name}" not in explained} == set()


def test_the_error_tree_is_the_tree() -> None:
    """Indentation is inheritance, and the builtin in parentheses is a base."""
    text = page("docs/errors.md").split("```")[1]
    above: list[type] = []
    for line in text.strip().splitlines():
        found = re.match(r"( *)(\w+)(?: \((\w+)\))?", line)
        assert found is not None
        error = getattr(errors, found[2])
        depth = len(found[1]) // 2
        if depth:
            assert issubclass(error, above[depth - 1]), line
        if found[3]:
            assert issubclass(error, getattr(builtins, found[3])), line
        above[depth:] = [error]


def test_the_reasons_that_end_a_stream_are_explained() -> None:
    text = page("docs/streaming.md")
    assert {reason.value for reason in CloseReason if f"`{reason.value}`" not in text} == set()


def rows_of(text: str, heading: str) -> dict[str, str]:
    """The first two cells of a section's table: names in the first one, and the second."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section is not None, heading
    found = re.finditer(r"^\| (`[^|]*) \| ([^|]*) \|", section[1], re.M)
    return {name: row[2].strip() for row in found for name in re.findall(r"`(\w+)", row[1])}


def test_the_manager_is_explained() -> None:
    text = page("docs/manager.md")
    public = {
        name
        for known in (SSEManager, Subscription)
        for name in dir(known)
        if not name.startswith("_")
    }
    inner = {"attach", "engine", "terms", "stream_left", "hub", "present", "options", "broker"}
    waits_or_shared = {"park", "event_count", "queued_bytes", "principal", "connected_at"}
    # docs/endpoints.md is the page of what is mounted.
    told = set(re.findall(r"\b\w+\b", text)) | {"mount", "mount_webhook"}
    assert public - told - inner - waits_or_shared == set()
    assert set(rows_of(text, "Policies")) == set(POLICIES)


def test_the_limits_of_the_manager_have_the_defaults_of_the_source() -> None:
    text = page("docs/manager.md")
    told = {**rows_of(text, "Limits"), **rows_of(text, "Liveness")}
    options = ManagerOptions()
    for name, value in {
        "max_streams_per_user": options.max_streams_per_user,
        "max_channels": options.max_channels,
        "max_name_bytes": options.max_name_bytes,
        "max_queue_bytes": f"{options.max_queue_bytes // KIB} KiB",
        "max_memory_bytes": f"{options.max_memory_bytes // MIB} MiB",
        "max_discard_bytes": f"{options.max_discard_bytes // KIB} KiB",
        "heartbeat_s": f"{options.heartbeat_s:g} s",
        "heartbeat_misses": options.heartbeat_misses,
        "stall_timeout_s": f"{options.stall_timeout_s:g} s",
        "slow_write_s": f"{options.slow_write_s:g} s",
        "linger_s": f"{options.linger_s:g} s",
        "half_close": f'`"{options.half_close}"`',
        "lease_s": options.lease_s or "off",
        "max_age_s": options.max_age_s or "off",
    }.items():
        assert told[name] == str(value), name
    history, broker = rows_of(text, "Ids, replay and reset"), MemoryBroker()
    assert history["max_events"] == f"{broker.max_events:,}"
    assert history["max_bytes"] == f"{broker.max_bytes // MIB} MiB"
    assert history["max_age_s"] == f"{broker.max_age_s:,.0f} s"


def test_every_option_of_the_manager_is_in_its_page() -> None:
    text = page("docs/manager.md")
    elsewhere = {"clock", "retry_after_s"}
    assert {
        field.name for field in fields(ManagerOptions) if f"`{field.name}" not in text
    } <= elsewhere | {"policy", "notices", "heartbeat_ids"}


def test_every_page_is_reached_from_the_index() -> None:
    index = page("docs/index.md")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    unlinked = {name for name in pages if f"]({name})" not in index}
    assert unlinked <= {"performance-notes.md"}


def test_the_navigation_has_every_page_once_and_those_of_the_index_in_its_order() -> None:
    conf = imported("docs_conf", "docs/conf.py")
    index = page("docs/index.md")
    shown = conf.with_navigation(index)
    assert shown.startswith(index)
    entries = shown.partition(":hidden:\n\n")[2].partition("\n```")[0].splitlines()
    linked = list(dict.fromkeys(re.findall(r"\]\(([\w-]+)\.md\)", index)))
    assert entries[: len(linked)] == linked
    there = {str(path.relative_to(ROOT / "docs"))[:-3] for path in ROOT.glob("docs/**/*.md")}
    assert there - {"index"} <= set(entries)
    assert len(entries) == len(set(entries))
