"""Coverage of ``.pxd`` files too, where the hot inline code lives.

Cython's own plugin looks for the C file beside a source file, and a ``.pxd`` has none: its code is
in the C of the modules that cimport it. The same search that the plugin makes for ``.pxi`` files
finds it there.
"""

from __future__ import annotations

import os
from typing import Any

from coverage import CoveragePlugin
from coverage.files import canonical_filename
from Cython.Coverage import Plugin as CythonPlugin


class Plugin(CythonPlugin):  # type: ignore[misc]  # Cython has no types
    """Cython's plugin, which looks a ``.pxd`` up in every C file of its folder."""

    def file_reporter(self, filename: str) -> Any:
        path = canonical_filename(os.path.abspath(filename))
        if path.endswith(".pxd"):
            self._find_c_source_files(os.path.dirname(path), path)
        return super().file_reporter(filename)


def coverage_init(registry: Any, _options: dict[str, Any]) -> None:
    """What coverage calls (its documentation, "Plug-in classes")."""
    plugin: CoveragePlugin = Plugin()
    registry.add_configurer(plugin)
    registry.add_file_tracer(plugin)
