#!/bin/sh
# Format, lint, types, stubs, layers, and C without warnings: all of it, then what failed.
#
#   tools/check.sh           with the tools of the environment first on PATH (make check)
set -u
cd "$(dirname "$0")/.." || exit

failed=""
step() {
    name=$1
    shift
    echo "--- $name"
    "$@" || failed="$failed $name"
}

core=src/h3py/_speedups
modules=$(for source in "$core"/*.pyx; do
    [ -e "$source" ] && basename "$source" .pyx | sed 's/^/h3py._speedups./'
done)

step ruff ruff check .
step format ruff format --check .
step mypy mypy
step cython-lint cython-lint src tools
# shellcheck disable=SC2086  # a list of module names
step stubtest env MYPYPATH=src python -m mypy.stubtest --mypy-config-file pyproject.toml \
    --allowlist tools/stubtest-allow.txt --ignore-unused-allowlist $modules
step layers lint-imports --no-logo
step warnings tools/tree.sh strict

if [ -n "$failed" ]; then
    echo "check: failed:$failed"
    exit 1
fi
echo "check: all is well"
