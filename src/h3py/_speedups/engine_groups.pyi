from collections.abc import Iterable, Mapping

from h3py._speedups.engine_streams import EngineStreams, Policy

class EngineGroups(EngineStreams):
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
        policy: Policy | None = None,
        notices: bool = False,
    ) -> None: ...
    def join(
        self, handle: int, *, users: Iterable[str] = (), channels: Iterable[str] = ()
    ) -> None: ...
    def leave(
        self, handle: int, *, users: Iterable[str] = (), channels: Iterable[str] = ()
    ) -> None: ...
