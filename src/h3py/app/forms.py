"""Forms: urlencoded by the standard library, multipart by python-multipart (extra ``forms``).

Rules. The body has been read and is bounded, so a form is parsed in one go and
its files are held in memory. Names and values are UTF-8 (HTML, section
"Multipart form data"); what is malformed is the client's error (400). The
number of fields is bounded besides, since each costs more than its bytes.

Pure functions; a form belongs to the event that parsed it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TypeAlias
from urllib.parse import parse_qsl

from h3py.app.multimap import MultiMap
from h3py.errors import ConfigError, HTTPError

MAX_FIELDS = 1000
"""Default for the number of fields and files of one form (400 past it)."""

_PART_HEADERS = 16
"""Header lines of one part; browsers send two."""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a multipart form.

    Attributes:
        filename: As the client named it: not a path to trust, possibly empty.
        content_type: As the client says; ``"application/octet-stream"`` by default.
        data: Its bytes.
    """

    filename: str
    content_type: str
    data: bytes


Form: TypeAlias = MultiMap["str | UploadedFile"]


def parse_form(content_type: str, body: bytes, *, max_fields: int = MAX_FIELDS) -> Form:
    """The form in a request body.

    Args:
        content_type: The request's Content-Type.
        body: The whole body.
        max_fields: Fields and files at most.

    Raises:
        HTTPError: 415 when it is no form, 400 when it is a broken one.
        ConfigError: A multipart form, and python-multipart is not installed.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/x-www-form-urlencoded":
        return MultiMap(parse_urlencoded(body.decode("latin-1"), max_fields=max_fields))
    if media_type == "multipart/form-data":
        return MultiMap(_parse_multipart(content_type, body, max_fields))
    raise HTTPError(415, "a form is application/x-www-form-urlencoded or multipart/form-data")


def parse_urlencoded(text: str, *, max_fields: int) -> list[tuple[str, str]]:
    """Names and values of a urlencoded text (a form, or a query).

    Raises:
        HTTPError: 400 for bytes that are not UTF-8, or too many fields.
    """
    if not text:
        return []
    if text.count("&") >= max_fields:
        raise HTTPError(400, f"more than {max_fields} fields")
    try:
        # Raw bytes beyond ASCII arrive as latin-1 text: give them back as what they were.
        source = text if text.isascii() else text.encode("latin-1").decode()
        return parse_qsl(source, keep_blank_values=True, errors="strict")
    except UnicodeError:
        raise HTTPError(400, "a field is not UTF-8") from None


def _parse_multipart(
    content_type: str, body: bytes, max_fields: int
) -> list[tuple[str, str | UploadedFile]]:
    library = _multipart()
    _, options = library.parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise HTTPError(400, "the multipart form names no boundary")
    parts = _Parts(library, max_fields)
    try:
        parser = library.MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except library.FormParserError as error:
        raise HTTPError(400, f"malformed multipart form: {error}") from None
    if not parts.complete:
        raise HTTPError(400, "the multipart form is cut short")
    return parts.fields


@cache
def _multipart() -> ModuleType:
    try:
        from python_multipart import multipart
    except ImportError:
        raise ConfigError("multipart forms need python-multipart: install h3py[forms]") from None
    return multipart


@dataclass(slots=True)
class _Parts:
    """Gathers the parser's callbacks into fields."""

    library: ModuleType
    max_fields: int
    complete: bool = False
    fields: list[tuple[str, str | UploadedFile]] = field(default_factory=list)
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _data: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.fields) >= self.max_fields:
            raise HTTPError(400, f"more than {self.max_fields} fields")
        self._headers = {}
        self._data = bytearray()

    def _end_header(self) -> None:
        if len(self._headers) >= _PART_HEADERS:
            raise HTTPError(400, "a part of the form has too many header lines")
        self._headers[bytes(self._name).strip().lower()] = bytes(self._value).strip()
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        kind, options = self.library.parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options:
            raise HTTPError(400, "a part of the form has no name")
        name = _text(options[b"name"])
        if b"filename" not in options:
            self.fields.append((name, _text(bytes(self._data))))
            return
        content_type = self._headers.get(b"content-type", b"application/octet-stream")
        self.fields.append(
            (
                name,
                UploadedFile(
                    _text(options[b"filename"]), content_type.decode("latin-1"), bytes(self._data)
                ),
            )
        )

    def _finish(self) -> None:
        self.complete = True


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise HTTPError(400, "a field is not UTF-8") from None
