"""From ``module:attribute`` to the application it names.

Rules. The current directory can be imported from, as with other servers. Whatever
goes wrong is one `ConfigError` that says what and where; the exception behind it
is chained, for ``--debug``.

Runs once, in the main thread, before anything is served.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from h3py.app import H3
from h3py.errors import ConfigError

DEFAULT_ATTRIBUTE = "app"


def load_app(target: str) -> H3:
    """The application that ``target`` names.

    Args:
        target: ``"module:attribute"``; the module may be dotted, the attribute too, and
            ``:app`` may be left out.

    Raises:
        ConfigError: The module does not import, has no such attribute, or the
            attribute is no `H3`.
    """
    name, _, attribute = target.partition(":")
    attribute = attribute or DEFAULT_ATTRIBUTE
    if name.endswith(".py") or os.sep in name:
        module = name.removesuffix(".py").strip("./").replace(os.sep, ".")
        raise ConfigError(f"{name!r} is a file: name the module, as in '{module}:{attribute}'")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{name!r} is not the name of a module: write 'module:{attribute}'")
    return _find(_import(name), attribute)


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"cannot import {name!r}: there is no module {error.name!r} "
                f"in {here} or among the installed packages"
            ) from error
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> ConfigError:
    """What the module raised while it was imported, in one line."""
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    told = told.splitlines()[0]
    where = _where(error)
    return ConfigError(f"cannot import {name!r}: {told}{f' ({where})' if where else ''}")


def _where(error: BaseException) -> str | None:
    """File and line of the innermost code that is neither ours nor the import system's."""
    if isinstance(error, SyntaxError):
        return None  # its message says where
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib")
        and frame.filename not in (__file__, importlib.__file__)
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


def _find(module: ModuleType, attribute: str) -> H3:
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ConfigError(
                f"{module.__name__} has no {attribute!r}{_instead(module)}"
            ) from error
    if isinstance(found, H3):
        return found
    kind = "a module" if isinstance(found, ModuleType) else f"of type {type(found).__name__}"
    raise ConfigError(
        f"{module.__name__}:{attribute} is {kind}, not an H3 application{_instead(module)}"
    )


def _instead(module: ModuleType) -> str:
    """The applications that the module does have."""
    names = [name for name, value in vars(module).items() if isinstance(value, H3)]
    return f"; it has {', '.join(repr(name) for name in names)}" if names else ""
