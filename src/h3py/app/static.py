"""Files of a directory, served beside the streams.

Rules. Reading happens where blocking is allowed (the handler is a plain
function), and a file is read whole, up to a bound. A path is taken segment by
segment: an empty one, ``.``, ``..`` and names that begin with a dot are not
found. Symbolic links are not followed unless asked for: each directory on the
way is opened from the one before, so nothing that is swapped meanwhile leads
out of the directory. Only regular files are served. Byte ranges are not: a
Range request is answered with the whole file, as RFC 9110 section 14.2 allows.

Validators: a weak ETag of modification time and size, and Last-Modified;
If-None-Match wins over If-Modified-Since (RFC 9110 section 13.2.2).

Immutable after construction; any thread may call it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from email.utils import formatdate, mktime_tz, parsedate_tz
from mimetypes import MimeTypes
from typing import TYPE_CHECKING, TypedDict, Unpack

from h3py.app.checks import whole_number
from h3py.errors import ConfigError, HTTPError
from h3py.http import Headers, Response
from h3py.options import MIB

if TYPE_CHECKING:
    from h3py.app.event import H3Event

log = logging.getLogger("h3py.app")

_ABSENT = frozenset(
    (
        errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM,
        errno.ENAMETOOLONG, errno.ENXIO, errno.EINVAL,
    )
)  # fmt: skip
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking: opening a pipe that nobody writes to would wait for ever.
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

_types = MimeTypes()  # the built-in table: the same on every machine
for _extension in (".js", ".mjs"):
    _types.add_type("text/javascript", _extension)  # RFC 9239; CPython 3.11 has the old name
_types.add_type("font/woff2", ".woff2")
_types.add_type("image/webp", ".webp")


class StaticOptions(TypedDict, total=False):
    """Options of `StaticFiles`."""

    index: str | None
    follow_symlinks: bool
    hidden: bool
    cache_control: str
    max_file_bytes: int


class StaticFiles:
    """A handler for a pattern that ends in ``**``: the files of a directory.

    Args:
        directory: What is served; it may itself be a symbolic link.
        index: The file that stands for a directory; None: none.
        follow_symlinks: Follow symbolic links, wherever they lead.
        hidden: Serve names that begin with a dot.
        cache_control: The Cache-Control of what is served.
        max_file_bytes: Larger files are refused (500, logged).

    Raises:
        ConfigError: The directory does not exist, or an option is not legal.
    """

    def __init__(self, directory: str | os.PathLike[str], **options: Unpack[StaticOptions]) -> None:
        unknown = set(options) - set(StaticOptions.__annotations__)
        if unknown:
            raise ConfigError(f"static files: unknown option {sorted(unknown)[0]!r}")
        self.directory = os.path.abspath(directory)
        if not os.path.isdir(self.directory):
            raise ConfigError(f"static files: {self.directory} is not a directory")
        self.index = options.get("index", "index.html")
        self.follow_symlinks = options.get("follow_symlinks", False)
        self.hidden = options.get("hidden", False)
        self.cache_control = options.get("cache_control", "no-cache")
        self.max_file_bytes = whole_number(
            "static files: max_file_bytes", options.get("max_file_bytes", 16 * MIB)
        )
        if self.index is not None and ("/" in self.index or not self.index):
            raise ConfigError(f"static files: index {self.index!r} is not a file name")

    def __call__(self, event: H3Event) -> Response | None:
        """Answer with the file that the path names."""
        path = event.request.path
        *_, rest = event.params.values()  # the pattern ends in "**", by whatever name
        parts = rest.split("/") if rest else []
        wants_directory = path.endswith("/")
        if parts and parts[-1] == "":
            parts.pop()
        if any(self._is_refused(part) for part in parts):
            raise HTTPError(404)
        if wants_directory:
            if self.index is None:
                raise HTTPError(404)
            parts.append(self.index)
        descriptor = self._open(parts)
        try:
            facts = os.fstat(descriptor)
            if stat.S_ISDIR(facts.st_mode) and not wants_directory and self._has_index(descriptor):
                # Relative links of the index need the slash.
                query = f"?{event.request.query_string}" if event.request.query_string else ""
                event.redirect(f"{path}/{query}", status=308)
                return None
            if not stat.S_ISREG(facts.st_mode):
                raise HTTPError(404)
            return self._answer(event, descriptor, parts[-1], facts)
        finally:
            os.close(descriptor)

    def _answer(
        self, event: H3Event, descriptor: int, name: str, facts: os.stat_result
    ) -> Response:
        etag = f'W/"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        headers = [
            ("etag", etag),
            ("last-modified", formatdate(int(facts.st_mtime), usegmt=True)),
            ("cache-control", self.cache_control),
        ]
        if _is_fresh(event.headers, etag, int(facts.st_mtime)):
            return Response(304, headers)
        if facts.st_size > self.max_file_bytes:
            log.error("static file %s is over %d bytes", name, self.max_file_bytes)
            raise HTTPError(500, "the file is larger than this server sends")
        headers.append(("content-type", content_type(name)))
        if event.method == "HEAD":
            headers.append(("content-length", str(facts.st_size)))
            return Response(200, headers)
        with open(descriptor, "rb", closefd=False) as file:
            return Response(200, headers, file.read(facts.st_size))

    def _is_refused(self, part: str) -> bool:
        if part in ("", ".", "..") or "\0" in part:
            return True
        return part.startswith(".") and not self.hidden

    def _open(self, parts: list[str]) -> int:
        """Open a file or directory below the root; 404 where it is not to be had."""
        try:
            if self.follow_symlinks:
                return os.open(os.path.join(self.directory, *parts), _FILE)
            return _open_beneath(self.directory, parts)
        except UnicodeEncodeError:
            raise HTTPError(404) from None
        except OSError as error:
            if error.errno in _ABSENT:
                raise HTTPError(404) from None
            raise

    def _has_index(self, descriptor: int) -> bool:
        if self.index is None:
            return False
        try:
            facts = os.stat(self.index, dir_fd=descriptor, follow_symlinks=self.follow_symlinks)
        except OSError:
            return False
        return stat.S_ISREG(facts.st_mode)


def content_type(name: str) -> str:
    """The Content-Type of a file by its name; text is UTF-8."""
    kind, encoding = _types.guess_type(name)
    if encoding is not None:
        return f"application/{encoding}"  # the bytes are a .gz, whatever is in it
    if kind is None:
        return "application/octet-stream"
    if kind.startswith("text/") or kind in ("application/json", "application/xml"):
        return f"{kind}; charset=utf-8"
    return kind


def matches_etag(headers: Headers, etag: str) -> bool:
    """Whether If-None-Match names a validator (RFC 9110 section 13.1.2: weak comparison)."""
    wanted = headers.get_all("if-none-match")
    tags = [tag.strip().removeprefix("W/") for line in wanted for tag in line.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _open_beneath(root: str, parts: list[str]) -> int:
    descriptor = os.open(root, _DIRECTORY)
    for position, part in enumerate(parts):
        flags = (_FILE if position == len(parts) - 1 else _DIRECTORY) | os.O_NOFOLLOW
        try:
            below = os.open(part, flags, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _is_fresh(headers: Headers, etag: str, modified: int) -> bool:
    """Whether the client's copy is the current one."""
    if "if-none-match" in headers:
        return matches_etag(headers, etag)
    since = parsedate_tz(headers.get("if-modified-since", ""))
    if since is None:
        return False
    try:
        return modified <= mktime_tz(since)
    except (ValueError, OverflowError):
        return False
