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

# Asks one Python: its version, the compiler that setuptools will call for it, where its headers
# should be, and what it lacks. Nothing at all where it does not run.
ask() {
    "$1" - 2>/dev/null <<'PY'
import os, sys, sysconfig
print("%d.%d" % sys.version_info[:2])
print(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
print(sysconfig.get_path("include"))
try:
    import ensurepip, venv
except ImportError:
    print("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("headers")
PY
}

# What is wrong with one Python, in a sentence; nothing where it is usable.
complain() {
    answer=$(ask "$1")
    [ -n "$answer" ] || { echo "$1 does not run"; return; }
    version=$(echo "$answer" | sed -n 1p)
    case $version in
        2.* | 3.? | 3.10) echo "$1 is Python $version: h3py needs 3.11 or newer"; return ;;
    esac
    compiler=$(echo "$answer" | sed -n 2p)
    headers=$(echo "$answer" | sed -n 3p)
    missing=$(echo "$answer" | sed 1,3d)
    lacks="" packages=""
    case $missing in *venv*)
        lacks="$lacks, its venv module" packages="$packages python$version-venv" ;;
    esac
    case $missing in *headers*)
        lacks="$lacks, its headers (Python.h)" packages="$packages python$version-dev" ;;
    esac
    if ! command -v "${compiler%% *}" >/dev/null 2>&1; then
        lacks="$lacks, a C compiler (${compiler%% *})" packages="$packages gcc libc6-dev"
    elif [ "${missing%headers}" = "$missing" ] &&
            ! echo '#include <Python.h>' |
                $compiler -I "$headers" -x c -c -o /dev/null - 2>/dev/null; then
        lacks="$lacks, a C compiler that takes Python.h (${compiler%% *} does not)"
        packages="$packages libc6-dev"
    fi
    [ -z "$lacks" ] || echo "$1 lacks ${lacks#, }; on Debian and Ubuntu: apt-get install$packages"
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
    complaint="Python $wanted not found, on PATH or under pyenv"
elif [ -n "${PYTHON:-}" ]; then
    candidates=$(command -v "$PYTHON" || echo "$PYTHON")
else
    candidates=$(on_path python3)
    for version in 3.13 3.12 3.11 3.14; do
        candidates="$candidates $(on_path "python$version") $(under_pyenv "$version")"
    done
    complaint="no Python 3 found"
    complaint="$complaint; on Debian and Ubuntu: apt-get install python3-dev python3-venv gcc"
fi

told=""
for python in $candidates; do
    wrong=$(complain "$python")
    if [ -z "$wrong" ]; then
        # The program itself, not a shim whose meaning changes with the folder.
        exec "$python" -c 'import sys; print(sys.executable)'
    fi
    told=${told:-$wrong}    # of several, the first one's lack is the one to tell
done
echo "h3py: ${told:-$complaint}" >&2
exit 1
