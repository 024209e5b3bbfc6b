"""Writes what the documentation takes from the source: python tools/generated_docs.py

- docs/options.md, from the fields of `ServeOptions`, `Limits` and `ManagerOptions`, and what is
  written below each;
- the map of files in docs/architecture.md, from the first sentence of each file;
- the table of the code in README.md: how long it takes to read.

Tests compare (tests/docs): the first two must be exact, the lines in the README about right.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from h3py.manager import ManagerOptions
from h3py.options import KIB, MIB, Limits, ServeOptions

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "h3py"
CORE = SRC / "_speedups"

OPTIONS_HEAD = """\
# Options

Every option of `serve`, `serve_trio` and `running` is a field of `ServeOptions`, given as a
keyword or in a `ServeOptions` made before. Times are seconds (`_s`), sizes are bytes (`_bytes`).
What is not legal is a `ConfigError` before serving begins.

```python
from h3py import Limits, ServeOptions

options = ServeOptions(backend="threads", port=8000, limits=Limits(body_bytes=10_000_000))
```

This page is made from the source by `tools/generated_docs.py`.
"""

LIMITS_HEAD = """
## What one request may cost

`limits=Limits(...)`. In parentheses the status that a client gets past the limit.
"""

MANAGER_HEAD = """
## A manager

Every option of `SSEManager` is a keyword of it. In parentheses what a client gets past the limit: a
status, or the reason that its stream ends with. [The manager](manager.md) says how they work
together; how much history there is, is said to the `MemoryBroker`.
"""

LINES_A_MINUTE = 30


# --- docs/options.md ------------------------------------------------------------------------------


def options_page() -> str:
    """The whole page."""
    parts = [OPTIONS_HEAD.rstrip("\n"), *_options(ServeOptions, headings=True)]
    parts += [LIMITS_HEAD.rstrip("\n"), *_options(Limits, headings=False)]
    parts += [MANAGER_HEAD.rstrip("\n"), *_options(ManagerOptions, headings=False)]
    return "\n".join(parts) + "\n"


def _options(source: type[Any], *, headings: bool) -> list[str]:
    """A row for each field, in tables under the headings that the source has as comments."""
    defaults = {
        field.name: field.default if field.default is not MISSING else field.default_factory()
        for field in fields(source)
    }
    head = ["", "| option | default | what it does |", "|---|---|---|"]
    rows: list[str] = [] if headings else list(head)
    for heading, option, told in _documented(source):
        if heading and headings:
            rows += ["", f"## {heading}", *head]
        rows.append(f"| `{option}` | {_shown(defaults[option], option)} | {told} |")
    return rows


def _documented(source: type[Any]) -> list[tuple[str, str, str]]:
    """The fields of a class: the comment line above, the name, the string below."""
    text = Path(inspect.getfile(source)).read_text()
    lines = text.splitlines()
    (found,) = (
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name == source.__name__
    )
    result = []
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = lines[node.lineno - 2].strip()
        heading = above.lstrip("# ").rstrip(".") if above.startswith("#") else ""
        told = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told = " ".join(str(after.value.value).split()).replace("``", "`")
        result.append((heading, node.target.id, told))
    return result


def _shown(value: Any, name: str) -> str:
    """A default, as a reader would write it."""
    if isinstance(value, Limits):
        return "below"
    if isinstance(value, int) and name.endswith("_bytes") and value >= KIB and value % KIB == 0:
        return f"{value // MIB} MiB" if value % MIB == 0 else f"{value // KIB} KiB"
    return f"`{value!r}`"


# --- the map of files -----------------------------------------------------------------------------

MAP_BEGINS, MAP_ENDS = "<!-- the map: tools/generated_docs.py -->\n", "<!-- the end of the map -->"
FOLDERS = (
    "", "cli", "demo", "testing", "manager", "app", "app/middleware", "backends", "http", "sse",
)  # fmt: skip


def file_map() -> str:
    """A table for each folder: file, purpose."""
    parts = []
    for folder in (*FOLDERS, "_speedups"):
        where = SRC / folder
        files = sorted(
            path
            for path in where.iterdir()
            if path.suffix in (".py", ".pyx", ".pxd", ".h") and not _says_nothing(path)
        )
        if not files:
            continue
        head = f"### `{f'src/h3py/{folder}'.rstrip('/')}`"
        rows = [f"| `{path.name}` | {purpose(path)} |" for path in files]
        parts.append("\n".join([head, "", "| file | what is in it |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def _says_nothing(path: Path) -> bool:
    """What has no row of its own: an empty file; the declarations of a compiled module."""
    if path.suffix == ".pxd":
        return path.with_suffix(".pyx").exists()
    return not path.read_text().strip()


def purpose(path: Path) -> str:
    """The first sentence of a file's docstring, or of its first comment.

    Of a compiled module: that of its .pxd, where the .pyx sends its readers there.
    """
    told = _docstring(path)
    if path.suffix == ".pyx" and f"{path.stem}.pxd" in told:
        told = _docstring(path.with_suffix(".pxd"))
    first = " ".join(told.strip().split("\n\n")[0].split())
    sentence = re.match(r"(.+?[.:])(?:\s+[A-Z]|$)", first)
    return (sentence[1] if sentence else first).rstrip(":.").replace("``", "`").replace("|", "\\|")


def _docstring(path: Path) -> str:
    text = path.read_text()
    if path.suffix == ".h":
        found = re.search(r"/\*(.*?)\*/", text, re.S)
        return re.sub(r"^ ?\* ?", "", found[1], flags=re.M) if found else ""
    found = re.match(r'\s*"""(.*?)"""', text, re.S)
    return found[1] if found else ""


# --- the table of the code ------------------------------------------------------------------------


def code_lines(folders: str) -> int:
    """Lines of the parts that a row of the README's table names."""
    return sum(
        len(path.read_text().splitlines())
        for folder in re.findall(r"`([\w/]+)`", folders)
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".pyx", ".pxd", ".h", ".html", ".css", ".js")
    )


CODE_ROW = re.compile(r"^\| (?P<folders>`src/[^|]*) \| (?P<lines>\d+) \| (?P<minutes>\d+) \|", re.M)


def with_code_lines(readme: str) -> str:
    """The README with its table counted again."""

    def row(match: re.Match[str]) -> str:
        lines = round(code_lines(match["folders"]), -2)
        minutes = max(5, 5 * round(lines / LINES_A_MINUTE / 5))
        return f"| {match['folders']} | {lines} | {minutes} |"

    return CODE_ROW.sub(row, readme)


def with_map(page: str) -> str:
    """The page of the architecture with a new map."""
    before, _, rest = page.partition(MAP_BEGINS)
    _, _, after = rest.partition(MAP_ENDS)
    return f"{before}{MAP_BEGINS}\n{file_map()}\n{MAP_ENDS}{after}"


def main() -> None:
    """Write all of it."""
    (ROOT / "docs" / "options.md").write_text(options_page())
    for path, renewed in (
        (ROOT / "docs" / "architecture.md", with_map),
        (ROOT / "README.md", with_code_lines),
    ):
        path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main()
