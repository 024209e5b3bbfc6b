"""The errors: one tree, each also the builtin that a reader of plain Python would catch."""

from __future__ import annotations

import pytest

from h3py import errors
from h3py.errors import H3Error, HTTPError, RequestError, status_phrase


def tree() -> dict[str, tuple[str, set[str]]]:
    """Class to parent and further bases, as the module's docstring prints them."""
    assert errors.__doc__ is not None
    found: dict[str, tuple[str, set[str]]] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        name, _, rest = line.strip().partition(" ")
        if not hasattr(errors, name) or not line.startswith("    "):
            continue
        depth = len(line) - len(line.lstrip())
        while path and path[-1][0] >= depth:
            path.pop()
        rest = rest.strip()
        builtin = {rest[1 : rest.index(")")]} if rest.startswith("(") else set()
        found[name] = (path[-1][1] if path else "Exception", builtin)
        path.append((depth, name))
    return found


def test_the_printed_tree_is_the_tree() -> None:
    printed = tree()
    assert len(printed) > 15
    for name, (parent, builtins) in printed.items():
        kind = getattr(errors, name)
        bases = {base.__name__ for base in kind.__mro__}
        assert parent in bases, f"{name} is no {parent}"
        assert builtins <= bases, f"{name} is no {builtins}"
        assert issubclass(kind, H3Error)
        assert kind.__doc__
    for both in ("WriteError", "AllocationError"):
        assert issubclass(getattr(errors, both), errors.SSEError)
        assert issubclass(getattr(errors, both), errors.H3ConnectionError)


@pytest.mark.parametrize("status", [399, 600, 200, 0])
def test_an_http_error_has_the_status_of_an_error(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        HTTPError(status)


def test_what_errors_carry() -> None:
    error = HTTPError(404)
    assert (error.status, error.detail, error.headers) == (404, "Not Found", {})
    assert str(HTTPError(503, "later", headers={"retry-after": "5"})) == "503 later"
    assert HTTPError(400, "").detail == ""
    request = RequestError(413, "too much")
    assert (request.status, request.detail, str(request)) == (413, "too much", "413 too much")
    lost = errors.ConnectionLost("gone", "client_closed")
    assert (lost.reason, str(lost)) == ("client_closed", "gone")
    assert errors.ConnectionLost("gone").reason is None


def test_phrases_are_those_of_the_standard() -> None:
    assert status_phrase(200) == "OK"
    assert status_phrase(431) == "Request Header Fields Too Large"
    assert status_phrase(599) == "Unknown"
