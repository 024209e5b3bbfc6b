"""Files of a directory: what is found, what is fresh, and that nothing leads out."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3py.app import H3, StaticFiles
from h3py.app.static import content_type
from h3py.errors import ConfigError
from h3py.options import Backend
from tests.app.kit import Answer, ask

MODIFIED_NS = 1_700_000_000_123_456_789
LAST_MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory to serve, with something beside it that must not be."""
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "site"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "sub" / "index.html").write_text("<p>sub")
    (root / "sub" / "caf\u00e9 1.txt").write_text("coffee")
    (root / ".env").write_text("password")
    (root / "out").symlink_to(tmp_path)
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "in.html").symlink_to("index.html")
    os.mkfifo(root / "pipe")
    (root / "a.js").write_text("let a")
    os.utime(root / "a.js", ns=(MODIFIED_NS, MODIFIED_NS))
    return root


def get(root: Path, path: str, **options: Any) -> Answer:
    request = {
        name: options.pop(name) for name in ("method", "headers", "backend") if name in options
    }
    app = H3()
    app.static("/s", root, **options)
    return ask(app, path, **request)


def test_files_are_served_with_their_type(site: Path, backend: Backend) -> None:
    answer = get(site, "/s/a.js", backend=backend)
    assert (answer.status, answer.text) == (200, "let a")
    assert answer.header("content-type") == "text/javascript; charset=utf-8"
    assert answer.header("last-modified") == LAST_MODIFIED
    assert answer.header("cache-control") == "no-cache"
    assert get(site, "/s/sub/caf%C3%A9%201.txt", backend=backend).text == "coffee"


def test_directories_have_an_index(site: Path) -> None:
    assert get(site, "/s/").text == "<p>home"
    assert get(site, "/s/sub/").text == "<p>sub"
    assert get(site, "/s/sub/empty/").status == 404
    assert get(site, "/s/sub/empty").status == 404
    assert get(site, "/s/", index=None).status == 404
    assert get(site, "/s/sub", index=None).status == 404
    assert get(site, "/s/sub/", index="caf\u00e9 1.txt").text == "coffee"
    assert get(site, "/s/a.js/").status == 404


@pytest.mark.parametrize(
    ("path", "location"),
    [("/s", "/s/"), ("/s/sub", "/s/sub/"), ("/s/sub?a=%20b", "/s/sub/?a=%20b")],
)
def test_a_directory_is_sent_to_its_slash(site: Path, path: str, location: str) -> None:
    answer = get(site, path)
    assert (answer.status, answer.header("location")) == (308, location)


def test_head_reads_nothing_and_tells_the_length(site: Path) -> None:
    answer = get(site, "/s/a.js", method="HEAD")
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "5")


def test_other_methods_are_refused(site: Path) -> None:
    answer = get(site, "/s/a.js", method="POST")
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")


# Validators.


def test_what_is_fresh_is_not_sent_again(site: Path) -> None:
    etag = get(site, "/s/a.js").header("etag")
    assert etag is not None
    assert etag.startswith('W/"')
    strong = etag.removeprefix("W/")
    for fresh in (etag, strong, "*", f'"x", {etag}'):
        answer = get(site, "/s/a.js", headers=[("If-None-Match", fresh)])
        assert (answer.status, answer.body) == (304, b"")
        assert answer.header("etag") == etag
        assert answer.header("last-modified") == LAST_MODIFIED
        assert answer.header("content-type") is None
    assert get(site, "/s/a.js", headers=[("If-None-Match", '"x"')]).status == 200


@pytest.mark.parametrize(
    ("since", "status"),
    [
        (LAST_MODIFIED, 304),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 304),
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("nonsense", 200),
        ("Tue, 99 Nov 99999999999 22:13:19 GMT", 200),
        ("", 200),
    ],
)
def test_dates(site: Path, since: str, status: int) -> None:
    assert get(site, "/s/a.js", headers=[("If-Modified-Since", since)]).status == status


def test_the_etag_wins_over_the_date(site: Path) -> None:
    headers = [("If-None-Match", '"x"'), ("If-Modified-Since", LAST_MODIFIED)]
    assert get(site, "/s/a.js", headers=headers).status == 200


def test_a_change_changes_the_etag(site: Path) -> None:
    before = get(site, "/s/a.js").header("etag")
    os.utime(site / "a.js", ns=(MODIFIED_NS, MODIFIED_NS + 1))
    assert get(site, "/s/a.js").header("etag") != before


# Ways out.


@pytest.mark.parametrize(
    "path",
    [
        "/s/../secret.txt",
        "/s/%2e%2e/secret.txt",
        "/s/..%2Fsecret.txt",
        "/s/%2e%2e%2Fsecret.txt",
        "/s/sub/../../secret.txt",
        "/s//etc/passwd",
        "/s/%2Fetc%2Fpasswd",
        "/s/./a.js",
        "/s/sub//index.html",
        "/s/a.js%00",
        "/s/out/secret.txt",
        "/s/out.txt",
        "/s/in.html",
        "/s/.env",
        "/s/pipe",
        "/s/" + "x" * 300,
        "/s/nothing",
    ],
)
def test_nothing_leads_out(site: Path, path: str) -> None:
    assert get(site, path).status == 404


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(
            ["..", ".", "", "out", "out.txt", "sub", "secret.txt", "%2e%2e", "..%2f", "\\.."]
        ),
        max_size=5,
    )
)
def test_no_path_finds_the_secret(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    base = tmp_path_factory.getbasetemp() / "outside"
    root = base / "site"
    if not root.exists():
        (root / "sub").mkdir(parents=True)
        (base / "secret.txt").write_text("secret")
        (root / "out").symlink_to(base)
        (root / "out.txt").symlink_to(base / "secret.txt")
    answer = get(root, "/s/" + "/".join(parts))
    assert b"secret" not in answer.body


def test_links_and_hidden_files_where_they_are_asked_for(site: Path) -> None:
    assert get(site, "/s/out/secret.txt", follow_symlinks=True).text == "secret"
    assert get(site, "/s/in.html", follow_symlinks=True).text == "<p>home"
    assert get(site, "/s/.env", hidden=True).text == "password"
    assert get(site, "/s/../secret.txt", hidden=True, follow_symlinks=True).status == 404


def test_the_directory_itself_may_be_a_link(site: Path) -> None:
    link = site.parent / "current"
    link.symlink_to(site)
    assert get(link, "/s/a.js").text == "let a"


def test_sockets_are_no_files(site: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(site / "socket"))
        assert get(site, "/s/socket").status == 404


# Bounds and options.


def test_files_are_read_up_to_a_bound(site: Path) -> None:
    assert get(site, "/s/a.js", max_file_bytes=5).status == 200
    answer = get(site, "/s/a.js", max_file_bytes=4)
    assert answer.status == 500
    assert answer.header("etag") is None


def test_descriptors_are_closed(site: Path) -> None:
    paths = ("/s/a.js", "/s/sub", "/s/nothing", "/s/out/secret.txt", "/s/sub/empty", "/s/pipe")
    before = len(os.listdir("/proc/self/fd"))
    for path in paths:
        get(site, path)
        get(site, path, max_file_bytes=1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_cache_control_is_an_option(site: Path) -> None:
    answer = get(site, "/s/a.js", cache_control="max-age=60")
    assert answer.header("cache-control") == "max-age=60"


def test_types() -> None:
    assert content_type("a.html") == "text/html; charset=utf-8"
    assert content_type("a.mjs") == "text/javascript; charset=utf-8"
    assert content_type("a.json") == "application/json; charset=utf-8"
    assert content_type("a.png") == "image/png"
    assert content_type("a.tar.gz") == "application/gzip"
    assert content_type("a.unheard-of") == "application/octet-stream"


def test_options_that_cannot_be(site: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"indx": "x"}, "unknown option 'indx'"),
        ({"index": "a/b"}, "not a file name"),
        ({"index": ""}, "not a file name"),
        ({"max_file_bytes": -1}, "max_file_bytes must be a whole number"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            StaticFiles(site, **options)
    with pytest.raises(ConfigError, match="is not a directory"):
        StaticFiles(site / "a.js")


def test_a_directory_that_vanished_has_no_files(tmp_path: Path) -> None:
    root = tmp_path / "gone"
    root.mkdir()
    app = H3()
    app.static("/", root)
    root.rmdir()
    assert ask(app, "/x").status == 404
    assert ask(app, "/").status == 404
