"""Paths: from the raw text of a request to decoded segments, and patterns of routes.

Rules.

- A path is split at ``/`` first and each segment is percent-decoded as UTF-8
  after that (RFC 3986 section 2.4), so an encoded slash never separates: it
  stays ``%2F`` in the decoded segment. Malformed escapes and bytes that are no
  UTF-8 are an error (400), never repaired.
- Nothing else is normalised: ``//`` has an empty segment, ``.`` and ``..`` are
  segments like others, ``/a`` and ``/a/`` are two paths.
- A pattern is written decoded. Its segments are text, ``:name`` or ``*`` (one
  segment that is not empty), and as its last one ``**`` or ``**:name`` (the
  rest: any number of segments, none included, joined by ``/``).

Pure functions and immutable values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import unquote_to_bytes

from h3py.errors import ConfigError

_MALFORMED_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile("%2[Ff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

REST = "**"
"""The key of an unnamed rest in ``event.params``."""


class SegmentKind(IntEnum):
    """What a segment of a pattern matches; the smaller, the more specific."""

    TEXT = 0
    PARAM = 1
    ANY = 2
    REST = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a pattern: its kind, and its text (or its parameter's name)."""

    kind: SegmentKind
    text: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def is_exact(self) -> bool:
        """Whether it matches one path only."""
        return all(segment.kind is SegmentKind.TEXT for segment in self.segments)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys it gives to ``event.params``, in order."""
        kinds = (SegmentKind.PARAM, SegmentKind.REST)
        return tuple(segment.text for segment in self.segments if segment.kind in kinds)


def parse_pattern(text: str) -> Pattern:
    """Parse the pattern of a route.

    Raises:
        ConfigError: The pattern is malformed; the message says how.
    """
    if not text.startswith("/"):
        raise ConfigError(f"pattern {text!r} must begin with '/'")
    for character in "?#%":
        if character in text:
            raise ConfigError(
                f"pattern {text!r} contains {character!r}: "
                "a pattern is a decoded path, without query or fragment"
            )
    parts = text[1:].split("/")
    segments = tuple(_parse_segment(part, text) for part in parts)
    if any(segment.kind is SegmentKind.REST for segment in segments[:-1]):
        raise ConfigError(f"pattern {text!r}: '**' must be the last segment")
    pattern = Pattern(text, segments)
    names = pattern.names
    if len(set(names)) != len(names):
        raise ConfigError(f"pattern {text!r} uses one parameter name twice")
    return pattern


def parse_prefix(text: str) -> tuple[Segment, ...]:
    """Parse the prefix of a mount, a group or a middleware; ``""`` and ``"/"`` are everything.

    Raises:
        ConfigError: The prefix is malformed, or contains ``**``.
    """
    prefix = clean_prefix(text)
    if not prefix:
        return ()
    segments = parse_pattern(prefix).segments
    if any(segment.kind is SegmentKind.REST for segment in segments):
        raise ConfigError(f"prefix {text!r} must not contain '**'")
    return segments


def clean_prefix(text: str) -> str:
    """A prefix without its last slash: ``"/api/"`` is ``"/api"``, ``"/"`` is ``""``."""
    return text.removesuffix("/")


def split_path(path: str) -> list[str]:
    """The decoded segments of a raw path that begins with ``/``.

    Raises:
        ValueError: A malformed escape, or bytes that are not UTF-8.
    """
    segments = path[1:].split("/")
    if "%" not in path and path.isascii():
        return segments
    return [_decode(segment) for segment in segments]


def decode_path(path: str) -> str:
    """A raw path, decoded segment by segment; ``%2F`` stays as it is.

    Raises:
        ValueError: A malformed escape, or bytes that are not UTF-8.
    """
    if "%" not in path and path.isascii():
        return path
    return "/" + "/".join(split_path(path))


def matches_prefix(prefix: tuple[Segment, ...], segments: list[str]) -> bool:
    """Whether decoded segments lie at or below a prefix."""
    if len(segments) < len(prefix):
        return False
    return all(
        segment.text == part if segment.kind is SegmentKind.TEXT else part != ""
        for segment, part in zip(prefix, segments, strict=False)
    )


def _decode(segment: str) -> str:
    if _MALFORMED_ESCAPE.search(segment):
        raise ValueError("malformed percent-encoding in the path")
    # The raw path is latin-1 text: one character for each byte of the request line.
    pieces = _ENCODED_SLASH.split(segment)
    return "%2F".join(unquote_to_bytes(piece.encode("latin-1")).decode() for piece in pieces)


def _parse_segment(part: str, pattern: str) -> Segment:
    if part == "*":
        return Segment(SegmentKind.ANY, "*")
    if part == REST:
        return Segment(SegmentKind.REST, REST)
    if part.startswith("**:"):
        return Segment(SegmentKind.REST, _name(part[3:], pattern))
    if part.startswith(":"):
        return Segment(SegmentKind.PARAM, _name(part[1:], pattern))
    if "*" in part:
        raise ConfigError(
            f"pattern {pattern!r}: '*' must be a whole segment, not a part of {part!r}"
        )
    return Segment(SegmentKind.TEXT, part)


def _name(name: str, pattern: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"pattern {pattern!r}: {name!r} is not a parameter name")
    return name
