"""Requests that are wrong, ambiguous or meant to be read in two ways.

One table: what is sent, and the one status it must get. Besides the status,
each entry must leave no request behind, nothing of what follows may be read,
and the verdict must be the same when the bytes come one by one.

The entries are of the kinds that public suites look for: h1spec, Http11Probe,
the findings of the HTTP Garden, the vectors of gunicorn, waitress, llhttp and
h11. Statuses are those of RFC 9110 and 9112; where these leave a choice, the
stricter one is taken, and the comment says so.
"""

from __future__ import annotations

import pytest

from h3py.http import RequestParser
from h3py.options import Limits
from tests.http.support import CHUNKED, GET, POST, bytewise, feed_all, outcome, parse

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def line(text: bytes) -> bytes:
    """A request with that request line."""
    return text + b"\r\nHost: a\r\n\r\n"


def field(text: bytes) -> bytes:
    """A GET with that field line besides Host."""
    return HEAD + text + b"\r\n\r\n"


def host(text: bytes) -> bytes:
    """A GET whose only fields are those lines."""
    return b"GET / HTTP/1.1\r\n" + text + b"\r\n\r\n"


def sized(value: bytes, body: bytes = b"hello") -> bytes:
    """A POST with that Content-Length."""
    return POST + b"Content-Length: " + value + b"\r\n\r\n" + body


def coded(value: bytes, more: bytes = b"") -> bytes:
    """A POST with that Transfer-Encoding, and a body that is chunked and empty."""
    return POST + b"Transfer-Encoding: " + value + b"\r\n" + more + b"\r\n0\r\n\r\n"


def chunks(body: bytes) -> bytes:
    """A POST with that chunked body."""
    return CHUNKED + body


REQUEST_LINES = {
    "binary garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "words": (line(b"hello there"), 400),
    "one word": (b"GET\r\n", 400),
    "spaces only": (b"   \r\n\r\n", 400),
    "leading space": (line(b" GET / HTTP/1.1"), 400),
    "garbage before the method": (line(b"Extra lineGET / HTTP/1.1"), 400),
    "bare LF before": (b"\n" + GET, 400),
    "bare CR before": (b"\r" + GET, 400),
    "many empty lines before": (b"\r\n" * 5 + GET, 400),
    "proxy protocol": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET, 400),
    # Versions.
    "HTTP/0.9": (b"GET /\r\n", 400),
    "HTTP/0.9 with a space": (b"GET / \r\n\r\n", 400),
    "HTTP/0.9 with its number": (line(b"GET / HTTP/0.9"), 505),
    "HTTP/2.0": (line(b"GET / HTTP/2.0"), 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3.0": (line(b"GET / HTTP/3.0"), 505),
    "HTTP/9.9": (line(b"GET / HTTP/9.9"), 505),
    "lower-case version": (line(b"GET / http/1.1"), 400),
    "mixed-case version": (line(b"GET / Http/1.1"), 400),
    "version without minor": (line(b"GET / HTTP/1"), 400),
    "version without dot": (line(b"GET / HTTP/11"), 400),
    "version with leading zero": (line(b"GET / HTTP/01.1"), 400),
    "version with two digits": (line(b"GET / HTTP/1.10"), 400),
    "version 1.32": (line(b"GET / HTTP/1.32"), 400),
    "version overflow": (line(b"GET / HTTP/4294967297.1"), 400),
    "version with sign": (line(b"GET / HTTP/1.+1"), 400),
    "version with space": (line(b"GET / HTTP/ 1.1"), 400),
    "version followed by space": (line(b"GET / HTTP/1.1 "), 400),
    "version of another protocol": (line(b"GET / ICE/1.0"), 400),
    "version in other digits": (line("GET / HTTP/1.\u0661".encode()), 400),
    # White space.
    "two spaces before the target": (line(b"GET  / HTTP/1.1"), 400),
    "two spaces before the version": (line(b"GET /  HTTP/1.1"), 400),
    "tabs": (line(b"GET\t/\tHTTP/1.1"), 400),
    "no-break space": (line(b"GET\xa0/ HTTP/1.1"), 400),
    "form feed": (line(b"GET /\x0cHTTP/1.1"), 400),
    "LF in it": (line(b"GET /\nHTTP/1.1"), 400),
    "CR in it": (line(b"GET /\rHTTP/1.1"), 400),
    "CR before CRLF": (line(b"GET / HTTP/1.1\r"), 400),
    "ended by LF": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "ended by CR": (b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
    "everything ended by LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    # Methods: 501 for what is a token (RFC 9110 section 9.1), else 400.
    "unknown method": (line(b"BREW / HTTP/1.1"), 501),
    "lower-case method": (line(b"get / HTTP/1.1"), 501),
    "long method": (line(b"A" * 300 + b" / HTTP/1.1"), 501),
    "RTSP method": (line(b"DESCRIBE / HTTP/1.1"), 501),
    "Icecast method": (line(b"SOURCE / HTTP/1.1"), 501),
    "PRI with HTTP/1.1": (line(b"PRI * HTTP/1.1"), 501),
    "CONNECT": (line(b"CONNECT a:443 HTTP/1.1") + SMUGGLED, 501),
    "method with a prefix that is one": (line(b"GETX / HTTP/1.1"), 501),
    "method with separators": (line(b'G=":<>(e),[T];?" / HTTP/1.1'), 400),
    "method with NUL": (line(b"G\x00T / HTTP/1.1"), 400),
    "empty method": (line(b" / HTTP/1.1"), 400),
    # Targets.
    "no target": (line(b"GET HTTP/1.1"), 400),
    "target without slash": (line(b"GET x HTTP/1.1"), 400),
    "target !": (line(b"GET ! HTTP/1.1"), 400),
    "target ?": (line(b"GET ?a=b HTTP/1.1"), 400),
    "NUL in the target": (line(b"GET /\x00 HTTP/1.1"), 400),
    "DEL in the target": (line(b"GET /\x7f HTTP/1.1"), 400),
    "escape in the target": (line(b"GET /\x1b[2J HTTP/1.1"), 400),
    "UTF-8 in the target": (line("GET /é HTTP/1.1".encode()), 400),
    "overlong UTF-8 in the target": (line(b"GET /\xc0\xaf HTTP/1.1"), 400),
    "UTF-8 in the query": (line("GET /?é HTTP/1.1".encode()), 400),
    "fragment": (line(b"GET /#top HTTP/1.1"), 400),
    "fragment in absolute form": (line(b"GET http://a/#top HTTP/1.1"), 400),
    "asterisk for GET": (line(b"GET * HTTP/1.1"), 400),
    "two asterisks": (line(b"OPTIONS ** HTTP/1.1"), 400),
    "authority for GET": (line(b"GET a:80 HTTP/1.1"), 400),
    "absolute form of another scheme": (line(b"GET ftp://a/ HTTP/1.1"), 400),
    "javascript": (line(b"GET javascript:alert(1) HTTP/1.1"), 400),
    "absolute form without host": (line(b"GET http:///p HTTP/1.1"), 400),
    "absolute form with a port alone": (line(b"GET http://:80/ HTTP/1.1"), 400),
    "absolute form with user": (line(b"GET http://u:p@a/ HTTP/1.1"), 400),
    "absolute form with a bad port": (line(b"GET http://a:8o/ HTTP/1.1"), 400),
    "absolute form with one slash": (line(b"GET http:/a/ HTTP/1.1"), 400),
}

FIELDS = {
    "space before the colon": (field(b"X : y"), 400),
    "tab before the colon": (field(b"X\t: y"), 400),
    "space before the colon of a length": (field(b"Content-Length : 34") + SMUGGLED, 400),
    "no-break space before the colon": (field(b"Content-Length\xa0: 5"), 400),
    "NEL before the colon": (field(b"Content-Length\x85: 5"), 400),
    "folded line": (field(b"X: y\r\n z"), 400),
    "folded with a tab": (field(b"X: y\r\n\tz"), 400),
    "folded into an empty value": (field(b"Transfer-Encoding:\r\n chunked"), 400),
    "folded last line": (field(b"X: y\r\n "), 400),
    "space before the first field": (host(b" Host: a"), 400),
    "tab before the first field": (host(b"\tContent-Length: 1\r\nHost: a") + b"X", 400),
    "line of white space": (b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", 400),
    "empty name": (field(b": y"), 400),
    "empty name and value": (field(b":"), 400),
    "no colon": (field(b"X"), 400),
    "no colon but a space": (field(b"Content-Length 10"), 400),
    "name over two lines": (HEAD + b"Transfer-\r\nEncoding: chunked\r\n\r\n", 400),
    "bracket in a name": (field(b"X[]: y"), 400),
    "space in a name": (field(b"X Y: y"), 400),
    "parenthesis in a name": (field(b"X(Y): y"), 400),
    "quote in a name": (field(b'"X": y'), 400),
    "UTF-8 in a name": (field("X-Té: y".encode()), 400),
    "0xEF in a name": (field(b"\xefoo: y"), 400),
    "NUL in a name": (field(b"X\x00: y"), 400),
    "NUL in a value": (field(b"X: y\x00z"), 400),
    "CR in a value": (field(b"X: y\rz"), 400),
    "CR as a line end": (field(b"X: y\rTransfer-Encoding: chunked"), 400),
    "CR before CRLF": (field(b"X: y\r"), 400),
    "LF as a line end": (field(b"X: y\nTransfer-Encoding: chunked"), 400),
    "two LF": (HEAD + b"X:\n\n" + SMUGGLED, 400),
    "LF CR": (field(b"X: y\n\rZ: z"), 400),
    "LF LF at the end": (b"GET / HTTP/1.1\r\nHost: a\n\n", 400),
    "CRLF LF at the end": (HEAD + b"\n" + SMUGGLED, 400),
    "CRLF CR at the end": (HEAD + b"\rX", 400),
    "LF CRLF at the end": (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    "CRLF CR before a name": (HEAD + b"\rZGET /evil: HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "vertical tab in a value": (field(b"X: \x0by"), 400),
    "form feed in a value": (field(b"X: y\x0c"), 400),
    "bell in a value": (field(b"X: test\x07"), 400),
    "DEL in a value": (field(b"X: y\x7f"), 400),
    "no Host": (b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400),
    "no field at all": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "absolute form does not stand for Host": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (host(b"Host: a\r\nHost: b"), 400),
    "the same Host twice": (host(b"Host: a\r\nX: y\r\nhOST: a"), 400),
    "two Hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "two Hosts in one": (host(b"Host: a, b"), 400),
    "two Hosts in one without space": (host(b"Host: a,b"), 400),
    # Its grammar allows an empty Host, but no http URI has an empty host (RFC 9110 section 4.2.1).
    "empty Host": (host(b"Host:"), 400),
    "Host of a port alone": (host(b"Host: :80"), 400),
    "Host with user": (host(b"Host: user@a"), 400),
    "Host with path": (host(b"Host: a/path"), 400),
    "Host with query": (host(b"Host: a?b"), 400),
    "Host with scheme": (host(b"Host: http://a"), 400),
    "Host with a bad port": (host(b"Host: a:80x"), 400),
    "Host with two ports": (host(b"Host: a:80:90"), 400),
    "Host with an open bracket": (host(b"Host: [::1"), 400),
    "Host with space": (host(b"Host: a b"), 400),
    "Host in UTF-8": (host("Host: é".encode()), 400),
    "Host with a bad percent": (host(b"Host: a%zz"), 400),
    "malformed Host in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400),
    "unknown expectation": (field(b"Expect: 200-ok"), 417),
    "two expectations": (field(b"Expect: 100-continue, tea"), 417),
    "two expectations on two lines": (field(b"Expect: 100-continue\r\nExpect: tea"), 417),
}  # fmt: skip

LENGTHS = {
    "plus": (sized(b"+5"), 400),
    "minus": (sized(b"-5"), 400),
    "minus zero": (sized(b"-0"), 400),
    "minus, overflowing": (sized(b"-123456789123456789123456789"), 400),
    "list of equals": (sized(b"5, 5"), 400),  # may be accepted, need not be
    "list of two": (sized(b"5, 6"), 400),
    "list without space": (sized(b"5,5"), 400),
    "trailing comma": (sized(b"5,"), 400),
    "empty": (sized(b""), 400),
    "white space": (sized(b" \t"), 400),
    "hexadecimal": (sized(b"0x5"), 400),
    "hexadecimal digits": (sized(b"5a"), 400),
    "octal": (sized(b"0o5"), 400),
    "leading zero": (sized(b"05"), 400),  # legal, but octal to some
    "two zeros": (sized(b"00", b""), 400),
    "underscore": (sized(b"1_0", b"0123456789"), 400),
    "inner space": (sized(b"1 0", b"0123456789"), 400),
    "fraction": (sized(b"5.0"), 400),
    "exponent": (sized(b"5e0"), 400),
    "semicolon": (sized(b"5;a=b"), 400),
    "letters": (sized(b"abc"), 400),
    "quoted": (sized(b'"5"'), 400),
    "no-break space": (sized(b"\xa05"), 400),
    "superscript": (sized(b"\xb2"), 400),
    "other digits": (sized("\u0665".encode()), 400),
    "vertical tab": (sized(b"\x0b5"), 400),
    "above the limit": (sized(b"1048577", b""), 413),
    "2 to the 63": (sized(b"9223372036854775808", b""), 413),
    "2 to the 64 and more": (sized(b"18446744073709551621"), 400),
    "4,500 digits": (sized(b"9" * 4500, b""), 400),  # int() itself gives up at 4,300
    "twice, different": (POST + b"Content-Length: 1\r\nContent-Length: 0\r\n\r\nZ", 400),
    "twice, the same": (POST + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello", 400),
    "twice, one empty": (POST + b"Content-Length:\r\nContent-Length: 40\r\n\r\n" + SMUGGLED, 400),
    "twice, far apart": (
        POST + b"Content-Length: 5\r\n" + b"X: y\r\n" * 20 + b"Content-Length: 6\r\n\r\n",
        400,
    ),
    "with chunked": (POST + b"Content-Length: 6\r\n" + CHUNKED[len(POST) :] + b"0\r\n\r\nX", 400),
    "with chunked after": (coded(b"chunked", b"Content-Length: 5\r\n"), 400),
    "of zero with chunked": (coded(b"chunked", b"Content-Length: 0\r\n"), 400),
    "with an unknown coding": (coded(b"xchunked", b"Content-Length: 5\r\n"), 400),
}  # fmt: skip

CODINGS = {
    # Chunked is not last: 400 (RFC 9112 section 6.3). Last, but not alone: 501 (section 6.1).
    "identity": (coded(b"identity"), 400),
    "gzip": (coded(b"gzip"), 400),
    "gzip, chunked": (coded(b"gzip, chunked"), 501),
    "identity, chunked": (coded(b"identity, chunked"), 501),
    "chunked, identity": (coded(b"chunked, identity"), 400),
    "chunked, gzip": (coded(b"chunked, gzip"), 400),
    "chunked, chunked": (coded(b"chunked, chunked"), 400),
    "on two lines": (coded(b"chunked", b"Transfer-Encoding: chunked\r\n"), 400),
    "two codings on two lines": (coded(b"gzip", b"Transfer-Encoding: chunked\r\n"), 400),
    "hidden on a second line": (coded(b"chunked", b"Transfer-Encoding: cow\r\n"), 400),
    "empty": (coded(b""), 400),
    "leading comma": (coded(b", chunked"), 400),  # empty elements may be ignored, need not be
    "trailing comma": (coded(b"chunked,"), 400),
    "parameter": (coded(b"chunked;q=1"), 400),
    "parameter with space": (coded(b"chunked ; a=b"), 400),
    "quoted": (coded(b'"chunked"'), 400),
    "single-quoted": (coded(b"'chunked'"), 400),
    "prefix": (coded(b"xchunked"), 400),
    "suffix": (coded(b"chunkedx"), 400),
    "inner space": (coded(b"chun ked"), 400),
    "two words": (coded(b"identity chunked"), 400),
    "vertical tab": (coded(b"\x0bchunked"), 400),
    "form feed": (coded(b"chunked\x0c"), 400),
    "NUL": (coded(b"chunked\x00"), 400),
    "no-break spaces": (coded(b"\xa0chunked\xa0"), 400),
    "Kelvin sign": (coded("chun\u212aed".encode()), 400),
    "colon": (coded(b": chunked"), 400),
    "folded": (coded(b"\r\n chunked"), 400),
    "HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "HTTP/1.0 with keep-alive": (
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "GET": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400),
}

CHUNKS = {
    "0x": (chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "plus": (chunks(b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "minus": (chunks(b"-1\r\nhello\r\n0\r\n\r\n"), 400),
    "minus zero": (chunks(b"-0\r\n\r\n"), 400),
    "underscore": (chunks(b"0_2e\r\n\r\n" + SMUGGLED + b"0\r\n\r\n"), 400),
    "no digits": (chunks(b"xyz\r\n"), 400),
    "digits, then not": (chunks(b"5g\r\nhello\r\n0\r\n\r\n"), 400),
    "empty size": (chunks(b"\r\n\r\n"), 400),
    "extension without size": (chunks(b";a=b\r\n\r\n"), 400),
    "leading space": (chunks(b" 5\r\nhello\r\n0\r\n\r\n"), 400),
    "trailing space": (chunks(b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "trailing tab": (chunks(b"5\t\r\nhello\r\n0\r\n\r\n"), 400),
    # "Bad white space" is legal there, but llhttp and others refuse it too.
    "space before the extension": (chunks(b"5 ;a=b\r\nhello\r\n0\r\n\r\n"), 400),
    "space in the extension": (chunks(b"5; a=b\r\nhello\r\n0\r\n\r\n"), 400),
    "16 digits": (chunks(b"FFFFFFFFFFFFFFFF\r\n"), 413),
    "17 digits": (chunks(b"1" + b"0" * 16 + b"\r\n"), 400),
    "17 zeros": (chunks(b"0" * 17 + b"\r\n\r\n"), 400),
    "size above the limit": (chunks(b"100001\r\n"), 413),
    "LF after the size": (chunks(b"5\nhello\r\n0\r\n\r\n"), 400),
    "CR after the size": (chunks(b"5\rhello\r\n0\r\n\r\n"), 400),
    "CR X after the size": (chunks(b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n" + SMUGGLED), 400),
    "LF after the extension": (chunks(b"5;a\nhello\r\n0\r\n\r\n"), 400),
    "LF in a bare extension": (chunks(b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED), 400),
    "CR in the extension": (chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    "NUL in the extension": (chunks(b"5;\x00\r\nhello\r\n0\r\n\r\n"), 400),
    "bare semicolon": (chunks(b"5;\r\nhello\r\n0\r\n\r\n"), 400),
    "extension without name": (chunks(b"5;=b\r\nhello\r\n0\r\n\r\n"), 400),
    "extension without value": (chunks(b"5;a=\r\nhello\r\n0\r\n\r\n"), 400),
    "open quote": (chunks(b'5;a="b\r\nhello\r\n0\r\n\r\n'), 400),
    "behind the quote": (chunks(b'5;a="b"c\r\nhello\r\n0\r\n\r\n'), 400),
    "line end in the quote": (chunks(b'5;a="\r\nhello\r\n0\r\n\r\n"'), 400),
    "no CRLF after the data": (chunks(b"5\r\nhello0\r\n\r\n"), 400),
    "LF after the data": (chunks(b"5\r\nhello\n0\r\n\r\n"), 400),
    "CR after the data": (chunks(b"5\r\nhello\r0\r\n\r\n"), 400),
    "more data than the size": (chunks(b"5\r\nhello!!\r\n0\r\n\r\n"), 400),
    "less data than the size": (chunks(b"5\r\nhell\r\n0\r\n\r\n"), 400),
    "any two bytes after the last chunk": (chunks(b"0\r\nXX" + SMUGGLED), 400),
    "LF after the last chunk": (chunks(b"0\r\n\n"), 400),
    "LF ends the last chunk": (chunks(b"0\n\r\n"), 400),
    "trailer without colon": (chunks(b"0\r\nnonsense\r\n\r\n"), 400),
    "request line as trailer": (chunks(b"0\r\n" + SMUGGLED), 400),
    "trailer with space before the colon": (chunks(b"0\r\nX : y\r\n\r\n"), 400),
    "trailer with empty name": (chunks(b"0\r\n: y\r\n\r\n"), 400),
    "trailer ended by LF": (chunks(b"0\r\nX: y\n\r\n"), 400),
    "trailers ended by LF": (chunks(b"0\r\nX: y\r\n\n"), 400),
    "CR in a trailer": (chunks(b"0\r\nX: y\rz\r\n\r\n"), 400),
    "NUL in a trailer": (chunks(b"0\r\nX: \x00\r\n\r\n"), 400),
    "folded trailer": (chunks(b"0\r\nX: y\r\n z\r\n\r\n"), 400),
    "space before the first trailer": (chunks(b"0\r\n X: y\r\n\r\n"), 400),
    "UTF-8 in a trailer's name": (chunks("0\r\né: y\r\n\r\n".encode()), 400),
}

ALL = {
    f"{kind}: {name}": entry
    for kind, table in (
        ("line", REQUEST_LINES), ("field", FIELDS), ("length", LENGTHS), ("coding", CODINGS),
        ("chunk", CHUNKS),
    )
    for name, entry in table.items()
}  # fmt: skip


@pytest.mark.parametrize(("data", "status"), ALL.values(), ids=ALL.keys())
def test_is_refused(data: bytes, status: int) -> None:
    requests, parser = parse(data)
    assert requests == []
    assert parser.error is not None
    assert parser.error.status == status
    assert parser.error.detail.isprintable()
    assert feed_all(parser, [GET, b"\r\n\r\n" + SMUGGLED]) == []
    assert not parser.take_continue()


@pytest.mark.parametrize(("data", "status"), ALL.values(), ids=ALL.keys())
def test_is_refused_in_the_same_way_byte_by_byte(data: bytes, status: int) -> None:
    whole, slow = RequestParser(Limits()), RequestParser(Limits())
    requests = feed_all(whole, [data + SMUGGLED])
    slow_requests = feed_all(slow, bytewise(data + SMUGGLED))
    assert outcome(slow, slow_requests) == outcome(whole, requests)
    assert slow.error is not None
    assert slow.error.status == status


@pytest.mark.parametrize(("data", "status"), ALL.values(), ids=ALL.keys())
def test_does_not_harm_the_request_before_it(data: bytes, status: int) -> None:
    before = POST + b"Content-Length: 3\r\n\r\nabc"
    requests, parser = parse(before + data)
    # CRLFs at its end are nobody's: those of "empty lines" begin anew after a request.
    assert [r.body for r in requests] == [b"abc"]
    assert parser.error is not None
    assert parser.error.status == status


WHOLE = {
    "GET": b"\r\n" + GET,
    "length": sized(b"5"),
    "chunked": chunks(b'5;a="\\"b"\r\nhello\r\n0;c\r\nX: y\r\n\r\n'),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_a_part_of_a_request_is_no_fault(data: bytes) -> None:
    parser = RequestParser(Limits())
    for piece in bytewise(data)[:-1]:
        assert parser.feed(piece) == []
        assert parser.error is None
    assert len(parser.feed(data[-1:])) == 1
