"""The demo: a page that shows live streams, and the application behind it."""

from h3py.demo.app import make_app
from h3py.demo.crowd import Crowd

__all__ = ["Crowd", "make_app"]
