from typing import Final, final

__pyx_capi__: Final[dict[str, object]]  # the C functions that other compiled modules call

@final
class GroupKeys: ...

@final
class Pairs: ...
