#!/bin/sh
# Installs the browser that the tests drive: Debian's chromium, with its libraries and a font. Does
# nothing where one is on the PATH.
set -eu

PACKAGES="chromium fonts-dejavu-core"

fail() {
    printf 'Set-up failed: %s\n' "$*" >&2
    exit 1
}

command -v chromium >/dev/null && exit 0
command -v apt-get >/dev/null || fail "there is no chromium, and no apt-get to install it with; \
install Chromium so that it is on the PATH."
if [ "$(id -u)" -ne 0 ]; then
    fail "there is no chromium. Run this, then try again:
    sudo apt-get update && sudo apt-get install -y $PACKAGES"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP
printf '%s\n' "Installing Debian's chromium, for the tests"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! { apt-get update && apt-get install -y --no-install-recommends $PACKAGES; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install chromium; its last lines are above."
fi
