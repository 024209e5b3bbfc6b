"""The application layer: `H3`, its router, events, middleware and the life of a request.

Imports point down only: nothing here knows a backend but for the protocols in
`h3py.backends.steps`.
"""

from h3py.app.application import H3, Group
from h3py.app.event import H3Event
from h3py.app.forms import UploadedFile
from h3py.app.functions import inline
from h3py.app.multimap import MultiMap
from h3py.app.prepared import PreparedApp
from h3py.app.static import StaticFiles

__all__ = [
    "H3",
    "Group",
    "H3Event",
    "MultiMap",
    "PreparedApp",
    "StaticFiles",
    "UploadedFile",
    "inline",
]
