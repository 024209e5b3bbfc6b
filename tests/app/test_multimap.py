"""`MultiMap`: first values by key, all of them on request."""

from __future__ import annotations

import pytest

from h3py.app.multimap import MultiMap


def test_a_key_gives_its_first_value() -> None:
    values = MultiMap([("a", "1"), ("b", "2"), ("a", "3")])
    assert values["a"] == "1"
    assert values.get("b") == "2"
    assert values.get("c") is None
    assert values.get("c", "x") == "x"
    with pytest.raises(KeyError):
        values["c"]


def test_all_values_and_pairs_keep_their_order() -> None:
    values = MultiMap([("a", "1"), ("b", "2"), ("a", "3")])
    assert values.get_all("a") == ["1", "3"]
    assert values.get_all("c") == []
    assert values.pairs() == (("a", "1"), ("b", "2"), ("a", "3"))
    assert list(values) == ["a", "b"]
    assert len(values) == 2
    assert "a" in values
    assert dict(values) == {"a": "1", "b": "2"}


def test_it_cannot_be_changed_from_outside() -> None:
    values = MultiMap([("a", "1")])
    values.get_all("a").append("2")
    assert values.get_all("a") == ["1"]


def test_equality_counts_every_value() -> None:
    assert MultiMap([("a", "1"), ("a", "2")]) == MultiMap([("a", "1"), ("a", "2")])
    assert MultiMap([("a", "1"), ("a", "2")]) != MultiMap([("a", "1")])
    assert MultiMap([("a", "1")]) == {"a": "1"}
    assert repr(MultiMap([("a", "1")])) == "MultiMap([('a', '1')])"
