from typing import Final

__pyx_capi__: Final[dict[str, object]]  # the C functions that other compiled modules call
