#!/bin/sh
# Sets up .venv: the versions that requirements.lock pins, and this checkout on top. Takes no time
# when nothing has changed; starts again cleanly when it was interrupted.
#
# Set PYTHON to choose the interpreter (default: the first of python3.11, python3.12, python3 that
# is at least 3.11 and below 3.14).
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
LOG=$VENV/setup.log
PIP="$VENV/bin/python -m pip --disable-pip-version-check --no-input --no-color"
child=

say() { printf '%s\n' "$*"; }
fail() {
    printf 'Set-up failed: %s\n' "$*" >&2
    exit 1
}

digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        suitable "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13."
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3; do
        if suitable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 was found. On Debian 12: apt-get install python3. \
Or name one: make PYTHON=/path/to/python"
}

# Debian ships Python without the parts that make virtual environments.
ensure_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    command -v apt-get >/dev/null || fail "$1 has no venv module; install the package that holds it."
    if [ "$(id -u)" -ne 0 ]; then
        fail "$1 has no venv module. Run this, then try again:
    sudo apt-get update && sudo apt-get install -y $package"
    fi
    say "Installing $package, which $1 needs"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update && apt-get install -y --no-install-recommends "$package"; } >"$log" 2>&1
    then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install $package; its last lines are above."
    fi
    rm -f "$log"
}

# Runs pip in the background, with its many words in the log and a line now and then here.
run_pip() { # PACKAGES ARGUMENTS...
    packages=$1
    shift
    $PIP "$@" >"$LOG" 2>&1 &
    child=$!
    seconds=0
    while kill -0 "$child" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        [ $((seconds % 5)) -eq 0 ] || continue
        if grep -q '^Installing collected packages' "$LOG"; then
            say "  installing ($seconds s)"
        elif [ "$packages" -gt 0 ]; then
            say "  $(grep -c '^Collecting ' "$LOG") of $packages packages fetched ($seconds s)"
        else
            say "  building ($seconds s)"
        fi
    done
    code=0
    wait "$child" || code=$?
    child=
    if [ "$code" -ne 0 ]; then
        grep -v '^WARNING: Location' "$LOG" | tail -n 30 >&2
        fail "pip could not install; its last lines are above, all of them are in $LOG."
    fi
}

interrupted() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    say "Set-up was interrupted; the next one starts again."
    exit 130
}
trap interrupted INT TERM HUP

# Two set-ups at once would ruin each other's work: the second one waits for the first.
exec 9<Makefile
flock 9

libraries="$(pwd) $(digest requirements.lock)"
# What the front end is built from; its tests and tools are no part of it.
www="$(find hogar_provider/plugins/www -type f \( -path '*/www/src/*' -o -path '*/www/scripts/*' \) \
    -not -path '*/node_modules/*' | LC_ALL=C sort)
hogar_provider/plugins/www/package-lock.json hogar_provider/plugins/www/vite.config.ts"
# shellcheck disable=SC2086
package="$(digest setup.cfg pyproject.toml setup.py scripts/build_www.py earg/protos/*.proto $www)\
${HOGAR_SKIP_WWW:+ without the front end}"

if [ "$(cat $VENV/.libraries 2>/dev/null)" != "$libraries" ] || ! $VENV/bin/python -c '' 2>/dev/null
then
    python=$(find_python)
    ensure_venv_module "$python"
    say "Making $VENV with $("$python" -V)"
    rm -rf $VENV
    "$python" -m venv $VENV || fail "$python -m venv $VENV did not work; its message is above."
    say "Installing the libraries of requirements.lock (a few minutes the first time)"
    run_pip "$(grep -c '^[a-z0-9].*==' requirements.lock)" \
        install --require-hashes -r requirements.lock
    printf '%s\n' "$libraries" >$VENV/.libraries
fi
if [ "$(cat $VENV/.package 2>/dev/null)" != "$package" ]; then
    say "Installing this checkout"
    run_pip 0 install --no-deps -e .
    printf '%s\n' "$package" >$VENV/.package
    say "Set-up is done."
fi
