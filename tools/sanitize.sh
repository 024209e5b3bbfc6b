#!/bin/bash
# The tests of the compiled core and of the backends, under a sanitizer.
#
#   tools/sanitize.sh asan|lsan|tsan [pytest arguments]
#
#   asan   addresses and undefined behaviour: stops at the first
#   lsan   leaks at exit, in the same build
#   tsan   data races
#
# CPython itself is not instrumented; the runtime is loaded before it. Reports go to files,
# because pytest holds stderr and a child's report must count too: any report fails the job.
# Before the tests, a bug of each of the job's kinds is run and must be seen.
set -euo pipefail

kind=$1
shift
cd "$(dirname "$0")/.."
root=$PWD
python=$root/${VENV:-.venv}/bin/python
case ${VENV:-} in /*) python=$VENV/bin/python ;; esac

build=$kind
library=libasan.so
leaks=0
case $kind in
    asan) planted=(overflow:heap-buffer-overflow use_after_free:heap-use-after-free
                   undefined:"signed integer overflow") ;;
    lsan) planted=(leak:"detected memory leaks") build=asan leaks=1 ;;
    tsan) planted=(race:"data race") library=libtsan.so ;;
    *) echo "unknown sanitizer $kind: asan, lsan or tsan" >&2; exit 2 ;;
esac

tree=$(tools/tree.sh "$build" tools/sanitizers/planted.pyx)
reports=$root/build/reports/$kind
rm -rf "$reports"
mkdir -p "$reports"
supp=$root/tools/sanitizers

export PYTHONPATH=$tree/src PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
export H3PY_DEADLINE_SCALE=${H3PY_DEADLINE_SCALE:-6} HYPOTHESIS_PROFILE=sanitizer
common=log_path=$reports/report:exitcode=66
export ASAN_OPTIONS=$common:detect_leaks=$leaks:allocator_may_return_null=1
export UBSAN_OPTIONS=$common:print_stacktrace=1
export LSAN_OPTIONS=suppressions=$supp/lsan.supp:print_suppressions=0
export TSAN_OPTIONS=$common:halt_on_error=0:history_size=4
[ "$kind" != tsan ] || unset PYTHONMALLOC

# The runtime goes before Python alone: this shell and its tools run without it.
under() {
    env LD_PRELOAD="$(gcc -print-file-name="$library")" "$python" "$@"
}

plant() {
    (cd "$tree" && under -c "from h3py._speedups import planted; planted.$1()") \
        >"$reports/$1.out" 2>&1
}

seen() {
    grep -qF "$1" "$reports"/report.* "$reports/$2.out" 2>/dev/null
}

if ! plant nothing || compgen -G "$reports/report.*" >/dev/null; then
    echo "$kind: reports something where there is no bug:" >&2
    cat "$reports"/* >&2
    exit 1
fi
for entry in "${planted[@]}"; do
    bug=${entry%%:*}
    if plant "$bug" || ! seen "${entry#*:}" "$bug"; then
        echo "$kind: does not see the planted bug '$bug'; nothing it says can be believed" >&2
        cat "$reports"/* >&2
        exit 1
    fi
    echo "$kind: sees the planted bug '$bug' (${entry#*:})"
    rm -f "$reports"/*
done

(cd "$tree" && under - <<PY
import h3py._speedups.block as block
assert block.__file__.startswith("$tree/"), f"tests would run another core: {block.__file__}"
assert block.FAULTS_BUILT, "this core has no fault hooks"
PY
)
rm -f "$reports"/*

# The core and what hands descriptors to it; programs of their own are other processes' business.
paths=()
if [ $# -eq 0 ] || [[ $1 == -* ]]; then
    for path in tests/speedups tests/sse tests/fuzz tests/test_connection.py tests/test_wire.py \
            tests/backends tests/test_serving.py tests/serving tests/testing; do
        [ ! -e "$tree/$path" ] || paths+=("$path")
    done
    # Thousands of life cycles in a row look for what is left of them, not for races.
    [ "$kind" != tsan ] || paths+=(--ignore=tests/backends/test_leaks.py
        --ignore=tests/backends/test_soak.py)
fi
code=0
(cd "$tree" && under -m pytest -p no:cacheprovider -p no:benchmark \
    -m "not process and not browser" -o faulthandler_timeout=600 ${H3PY_JUNIT:+--junitxml="$H3PY_JUNIT"} \
    "${paths[@]}" "$@") || code=$?

if compgen -G "$reports/report.*" >/dev/null; then
    echo "$kind: reports from $(compgen -G "$reports/report.*" | wc -l) process(es):" >&2
    head -c 40000 "$reports"/report.* >&2
    exit 1
fi
exit "$code"
