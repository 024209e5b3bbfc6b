"""Compiles the Cython core; everything static stands in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("src/h3py/_speedups")

extensions = [
    Extension(
        f"h3py._speedups.{source.stem}",
        [str(source)],
        include_dirs=[str(CORE)],
        depends=[str(path) for path in sorted(CORE.glob("*.h"))],
        extra_compile_args=["-O3", "-pthread", "-fno-strict-aliasing"],
        extra_link_args=["-pthread"],
    )
    for source in sorted(CORE.glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        # Stubs stay exact (no generated pickling), and C integer division is what
        # the core means where it divides.
        compiler_directives={
            "language_level": 3,
            "autotestdict": False,
            "auto_pickle": False,
            "cdivision": True,
            "binding": True,
            "embedsignature": False,
        },
    )
)
