"""The demo: a page that shows live streams, and the application behind it."""

from h3py.demo.app import make_app

__all__ = ["make_app"]
