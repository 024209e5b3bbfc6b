"""Compiles the Cython core; everything static stands in pyproject.toml.

H3PY_BUILD names another build than the one that is shipped. Objects of different builds
must not meet, so each is made in a tree of its own (tools/tree.sh).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("src/h3py/_speedups")
DEBUG = ["-O1", "-g", "-fno-omit-frame-pointer", "-DH3PY_FAULTS"]
UNDEFINED = ["-fno-sanitize-recover=all", "-fno-wrapv"]
BUILDS = {
    "release": ["-O3", "-g0"],
    "strict": ["-O3", "-g0", "-Wall", "-Wextra", "-Werror"],
    "faults": ["-O1", "-g", "-DH3PY_FAULTS"],
    "asan": [*DEBUG, "-fsanitize=address,undefined", *UNDEFINED],
    "tsan": [*DEBUG, "-fsanitize=thread"],
    # Line events of compiled code: the third is for 3.13, which reports nothing without it.
    "coverage": ["-O1", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"],
}
build = os.environ.get("H3PY_BUILD", "release")

extensions = [
    Extension(
        f"h3py._speedups.{source.stem}",
        [str(source)],
        include_dirs=[str(CORE)],
        depends=[str(path) for path in sorted(CORE.glob("*.h"))],
        extra_compile_args=["-pthread", "-fno-strict-aliasing", *BUILDS[build]],
        extra_link_args=["-pthread", *(flag for flag in BUILDS[build] if "sanitize=" in flag)],
    )
    for source in sorted(CORE.glob("*.pyx"))
]
# Stubs stay exact (no generated pickling or doctests); C division is what the core means.
directives = {"language_level": 3, "autotestdict": False, "auto_pickle": False, "cdivision": True}
directives |= {"binding": True, "embedsignature": False, "linetrace": build == "coverage"}

setup(
    ext_modules=cythonize(
        extensions, compiler_directives=directives, include_path=["src"], quiet=True
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
