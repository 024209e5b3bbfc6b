#!/bin/sh
# A copy of the checkout with a core of another build, apart from the developer's own.
#
#   tools/tree.sh BUILD [FILE.pyx ...]     prints build/trees/BUILD, made up to date
#
# BUILD is a name that setup.py knows, or "sources" for a copy that is not built. Further .pyx
# files are compiled among the core, which is how the sanitizer jobs plant their bugs. Times are
# kept, so only what changed is compiled again. All but the path goes to stderr.
set -eu

build=$1
shift
cd "$(dirname "$0")/.."
root=$PWD
python=$root/${VENV:-.venv}/bin/python
case ${VENV:-} in /*) python=$VENV/bin/python ;; esac
tree=$root/build/trees/$build
core=src/h3py/_speedups
mkdir -p "$tree"

make_tree() {
    git ls-files -z --cached --others --exclude-standard |
        tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null |
        tar -xf - -C "$tree"
    for source in "$@"; do
        cp -p "$source" "$tree/$core/"
    done
    # What the checkout no longer has must not be tested: sources, and what was made of them.
    (cd "$tree" && find src tests bench examples -type f \
        ! -name '*.pyc' ! -name '*.so' ! -name '*.c' ! -path '*.egg-info/*' 2>/dev/null) |
        while read -r file; do
            [ -e "$root/$file" ] && continue
            case " $* " in *"/${file##*/} "*) continue ;; esac
            rm -f "$tree/$file"
        done
    [ "$build" != sources ] || return 0
    (cd "$tree" && for made in "$core"/*.so; do
        name=${made##*/}
        [ -e "$core/${name%%.*}.pyx" ] || rm -f "$made" "$core/${name%%.*}.c"
    done)
    (cd "$tree" && H3PY_BUILD=$build "$python" setup.py --quiet build_ext --inplace)
}

# Two jobs may want one tree.
exec 9>"$tree.lock"
! command -v flock >/dev/null || flock 9
make_tree "$@" >&2
echo "$tree"
