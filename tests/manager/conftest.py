"""``make_site``: a manager that is served on both backends; see ``support/site.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.manager.support.mounted import Mounted, mounting
from tests.manager.support.site import Site


@pytest.fixture
def make_site(serve_app: Callable[..., Any], backend: str) -> Iterator[Callable[..., Site]]:
    """``make_site(**options)``: options are those of ``Site``, and the manager's."""
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(Site(serve_app, backend, **options))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A site with the manager's defaults, whose presence is watched."""
    return make_site(watch_presence=True)


@pytest.fixture
def make(serve_app: Callable[..., Any]) -> Iterator[Callable[..., Mounted]]:
    """``make(**options)``: a manager whose endpoints are mounted; see ``support/mounted.py``."""
    yield from mounting(serve_app)


@pytest.fixture
def mounted(make: Callable[..., Mounted]) -> Mounted:
    """The endpoints with the defaults."""
    return make()
