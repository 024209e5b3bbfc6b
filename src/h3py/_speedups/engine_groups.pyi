from collections.abc import Iterable, Mapping

from h3py._speedups.engine_streams import _Policy
from h3py._speedups.engine_views import EngineViews
from h3py._speedups.format import SSEEvent

class EngineGroups(EngineViews):
    def subscribe(
        self,
        handle: int,
        *,
        users: Iterable[str] = (),
        channels: Iterable[str] = (),
        client: str | None = None,
        position: int | None = None,
        everyone: bool = True,
        where: Mapping[str, Iterable[str]] | None = None,
        policy: _Policy | None = None,
        notices: bool = False,
        lost: bool = False,
    ) -> None: ...
    def join(
        self, handle: int, *, users: Iterable[str] = (), channels: Iterable[str] = ()
    ) -> None: ...
    def leave(
        self, handle: int, *, users: Iterable[str] = (), channels: Iterable[str] = ()
    ) -> None: ...
    def page(
        self, handle: int, events: Iterable[tuple[int, SSEEvent]], position: int | None
    ) -> None: ...
