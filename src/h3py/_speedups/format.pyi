from typing import Any, Final, final

__pyx_capi__: Final[dict[str, object]]  # the C functions that other compiled modules call

@final
class SSEEvent:
    def __new__(
        cls,
        data: str | bytes | None = None,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> SSEEvent: ...
    @staticmethod
    def json(
        obj: Any,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> SSEEvent: ...
    @staticmethod
    def binary(
        raw: bytes | bytearray | memoryview,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> SSEEvent: ...
    def replace(
        self,
        *,
        data: str | bytes | None = ...,
        event: str | None = ...,
        id: str | None = ...,
        retry: int | None = ...,
        comment: str | None = ...,
    ) -> SSEEvent: ...
    @property
    def data(self) -> str | None: ...
    @property
    def event(self) -> str | None: ...
    @property
    def id(self) -> str | None: ...
    @property
    def retry(self) -> int | None: ...
    @property
    def comment(self) -> str | None: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def format_event(event: SSEEvent) -> bytes: ...
def format_comment(text: str) -> bytes: ...
