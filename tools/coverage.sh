#!/bin/sh
# Line coverage of the package, compiled lines included, from a core built with line events.
#
#   tools/coverage.sh [pytest arguments]      also writes build/coverage/index.html
set -eu
cd "$(dirname "$0")/.."
root=$PWD
python=$root/${VENV:-.venv}/bin/python
case ${VENV:-} in /*) python=$VENV/bin/python ;; esac

tree=$(tools/tree.sh coverage)
cd "$tree"
# Line events make compiled code a hundred times slower.
export PYTHONPATH="$tree/src" H3PY_DEADLINE_SCALE="${H3PY_DEADLINE_SCALE:-20}"
export HYPOTHESIS_PROFILE="${HYPOTHESIS_PROFILE:-sanitizer}"
code=0
rm -f .coverage
"$python" -m coverage run -m pytest -p no:cacheprovider -m "not browser and not untraced" \
    -o faulthandler_timeout=1800 "$@" || code=$?
"$python" -m coverage html --quiet --directory "$root/build/coverage"
"$python" -m coverage report
# A report that says nothing of the compiled files is a report of nothing.
for source in src/h3py/_speedups/*.pyx; do
    "$python" -m coverage report --include="*/${source##*/}" >/dev/null ||
        { echo "coverage: no line of $source was measured" >&2; code=1; }
done
exit "$code"
