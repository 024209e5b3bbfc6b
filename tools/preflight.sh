#!/bin/sh
# Prints the Python to build with, or says in one line what this machine lacks.
#
#   tools/preflight.sh            a supported one: $PYTHON, python3, then any other found
#   tools/preflight.sh 3.12       exactly this version, on PATH or under pyenv
#
# "Usable" means: 3.11 or newer, with venv, its headers, and a C compiler that takes them.
# A name on PATH proves nothing (a pyenv shim may point nowhere), so each is tried.
set -u

wanted=${1:-}

# One word for "usable", or a sentence that says what is missing and how to get it.
probe() {
    "$1" - 2>/dev/null <<'PY' || echo "does not run"
import os, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    print("is Python %s: h3py needs 3.11 or newer" % version)
    sys.exit()
try:
    import ensurepip, venv
except ImportError:
    print("has no venv module: install it (Debian, Ubuntu: apt-get install python%s-venv)" % version)
    sys.exit()
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("has no headers (Python.h): install them (Debian, Ubuntu: apt-get install python%s-dev; "
          "Fedora: dnf install python3-devel)" % version)
    sys.exit()
print("ok")
PY
}

# The compiler that setuptools will call for this Python, tried on its header.
compiles() {
    compiler=${CC:-$("$1" -c 'import sysconfig; print(sysconfig.get_config_var("CC"))')}
    if ! command -v "${compiler%% *}" >/dev/null 2>&1; then
        echo "no C compiler (${compiler%% *}): install one (Debian, Ubuntu: apt-get install gcc libc6-dev;" \
            "Fedora: dnf install gcc; macOS: xcode-select --install)"
    elif ! echo '#include <Python.h>' | $compiler -x c -c -o /dev/null \
            -I "$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')" - 2>/dev/null; then
        echo "the C compiler (${compiler%% *}) cannot compile against Python.h: the C library's headers" \
            "are missing (Debian, Ubuntu: apt-get install libc6-dev)"
    else
        echo ok
    fi
}

# Every program of this name on PATH; a shim that fails must not hide a later one.
on_path() {
    old_ifs=$IFS
    IFS=:
    for folder in $PATH; do
        [ -x "$folder/$1" ] && echo "$folder/$1"
    done
    IFS=$old_ifs
}

under_pyenv() {
    for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*; do
        [ -x "$folder/bin/python" ] && echo "$folder/bin/python"
    done | sort -V -r
}

if [ -n "$wanted" ]; then
    candidates="$(on_path "python$wanted") $(under_pyenv "$wanted")"
elif [ -n "${PYTHON:-}" ]; then
    candidates=$(command -v "$PYTHON" || echo "$PYTHON")
else
    candidates=$(on_path python3)
    for version in 3.13 3.12 3.11 3.14; do
        candidates="$candidates $(on_path "python$version") $(under_pyenv "$version")"
    done
fi

complaint="no Python 3 found: install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3-dev python3-venv)"
[ -z "$wanted" ] || complaint="Python $wanted not found, on PATH or under pyenv"
first=yes
for python in $candidates; do
    answer=$(probe "$python")
    if [ "$answer" = ok ]; then
        answer=$(compiles "$python")
        if [ "$answer" = ok ]; then
            # The program itself, not a shim whose meaning changes with the folder.
            "$python" -c 'import sys; print(sys.executable)'
            exit 0
        fi
        echo "h3py: $answer" >&2
        exit 1
    fi
    # Of several, the first one's lack is the one to tell.
    [ "$first" = yes ] && complaint="$python $answer"
    first=no
done
echo "h3py: $complaint" >&2
exit 1
