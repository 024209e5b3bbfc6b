"""`H3` and groups: what is collected, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from h3py.app import H3, H3Event, inline
from h3py.errors import ConfigError
from h3py.options import Backend
from tests.app.kit import ask


def mark(name: str) -> Any:
    @inline
    def middleware(event: H3Event) -> None:
        event.context.setdefault("marks", []).append(name)

    return middleware


def marks(event: H3Event) -> list[str]:
    marks: list[str] = event.context["marks"]
    return marks


def test_middleware_order_is_application_mount_group_route(backend: Backend) -> None:
    app, inner = H3(), H3()
    group = inner.group("/g", middleware=[mark("group")])
    nested = group.group("/n", middleware=[mark("nested")])
    nested.get("/x", marks, middleware=[mark("route")])
    app.mount("/sub", inner)
    inner.use("/g", mark("inner, scoped"))
    inner.use(mark("inner"))
    app.use("/sub", mark("outer, scoped"))
    app.use(mark("outer"))
    group.use(mark("group, later"))
    assert ask(app, "/sub/g/n/x", backend=backend).json == [
        "outer, scoped", "outer", "inner, scoped", "inner", "group", "group, later", "nested",
        "route",
    ]  # fmt: skip


def test_use_in_all_its_forms() -> None:
    app = H3()
    first, second, third = mark("first"), mark("second"), mark("third")
    assert app.use(first) is first
    assert app.use("/a/", second) is second
    assert app.use("/a")(third) is third
    app.get("/a", marks)
    app.get("/ab", marks)
    assert ask(app, "/a").json == ["first", "second", "third"]
    assert ask(app, "/ab").json == ["first"]


def test_a_mounted_applications_middleware_stays_below_its_prefix() -> None:
    app, inner = H3(), H3()
    inner.use(mark("inner"))
    inner.get("/x", marks)
    app.mount("/sub/", inner)
    app.get("/x", lambda event: event.context)
    assert ask(app, "/sub/x").json == ["inner"]
    assert ask(app, "/x").json == {}


def test_one_application_may_be_mounted_twice_and_with_parameters() -> None:
    app, inner = H3(), H3()
    inner.get("/:page", lambda event: dict(event.params))
    app.mount("/a", inner)
    app.mount("/t/:tenant", inner)
    assert ask(app, "/a/1").json == {"page": "1"}
    assert ask(app, "/t/acme/2").json == {"tenant": "acme", "page": "2"}


def test_the_root_of_a_mount_or_group_is_its_prefix_with_and_without_a_slash() -> None:
    app, inner = H3(), H3()
    inner.get("/", lambda event: "root")
    app.mount("/sub", inner)
    group = app.group("/g")
    group.get("/", lambda event: "slash")
    group.get("", lambda event: "none")
    assert [ask(app, path).text for path in ("/sub", "/sub/")] == ["root", "root"]
    assert [ask(app, path).text for path in ("/g", "/g/")] == ["none", "slash"]


def test_hooks_run_outer_first_and_stop_in_reverse() -> None:
    app, inner = H3(), H3()
    app.mount("/a", inner)
    app.mount("/b", inner)

    def one() -> None: ...
    def two() -> None: ...
    def three() -> None: ...

    for register in ("on_start", "on_stop", "background"):
        for owner, function in ((app, one), (inner, three), (app, two)):
            assert getattr(owner, register)(function) is function
    assert app.start_hooks == (one, two, three)
    assert app.stop_hooks == (three, two, one)
    assert app.backgrounds == (one, two, three)


def test_a_served_application_is_frozen_with_all_that_is_in_it() -> None:
    app, inner = H3(), H3()
    group = app.group("/g")
    app.mount("/sub", inner)
    app.prepare("threads")
    changes: list[Any] = [
        lambda: app.get("/late", marks),
        lambda: inner.get("/late", marks),
        lambda: group.get("/late", marks),
        lambda: group.use(mark("late")),
        lambda: app.use(mark("late")),
        lambda: app.mount("/late", H3()),
        lambda: app.on_start(lambda: None),
    ]
    for change in changes:
        with pytest.raises(ConfigError, match="is being served"):
            change()
    app.prepare("threads")  # a second server may serve it too


def test_an_application_cannot_contain_itself() -> None:
    app, inner = H3(), H3()
    app.mount("/a", inner)
    with pytest.raises(ConfigError, match="contain itself"):
        inner.mount("/b", app)
    with pytest.raises(ConfigError, match="contain itself"):
        app.mount("/b", app)


CONFIGURATION_ERRORS: list[Any] = [
    (lambda app: app.mount("sub", H3()), "must begin with '/'"),
    (lambda app: app.mount("/**", H3()), "must not contain"),
    (lambda app: app.mount("/sub", object()), "not an H3 application"),
    (lambda app: app.use("sub", marks), "must begin with '/'"),
    (lambda app: app.group("sub"), "must begin with '/'"),
    (lambda app: app.get("", marks) and app.check("trio"), "must begin with '/'"),
    (lambda app: app.static("/", "/no/such/directory"), "is not a directory"),
]


def test_configuration_errors() -> None:
    for wrong, message in CONFIGURATION_ERRORS:
        with pytest.raises(ConfigError, match=message):
            wrong(H3())


NOT_CALLABLE: list[Any] = [
    lambda app: app.use(marks, marks),
    lambda app: app.use("/a", "not a function"),
    lambda app: app.use(3),
    lambda app: app.on_start("x"),
    lambda app: app.group(middleware=[None]),
]


def test_what_cannot_be_called_is_refused_at_once() -> None:
    for wrong in NOT_CALLABLE:
        with pytest.raises(TypeError):
            wrong(H3())


def test_a_hook_is_no_generator() -> None:
    def generator() -> Any:
        yield

    with pytest.raises(ConfigError, match="is a generator"):
        H3().background(generator)


def test_static_serves_below_a_prefix(tmp_path: Path, backend: Backend) -> None:
    (tmp_path / "a.txt").write_text("a")
    app, inner = H3(), H3()
    inner.static("/files", tmp_path)
    app.mount("/sub", inner)
    assert ask(app, "/sub/files/a.txt", backend=backend).text == "a"
