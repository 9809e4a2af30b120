#!/bin/sh
# Puts what the tests need besides Python into build/test-tools: Debian's prometheus and promtool.
# The package is unpacked, not installed, so no service of it ever starts. Does nothing where both
# are on the PATH, or there already.
set -eu
cd "$(dirname "$0")/.."

PACKAGE=prometheus
TOOLS=build/test-tools

say() { printf '%s\n' "$*"; }
fail() {
    printf 'Set-up failed: %s\n' "$*" >&2
    exit 1
}

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
if [ -x $TOOLS/usr/bin/prometheus ] && [ -x $TOOLS/usr/bin/promtool ]; then
    exit 0
fi
for tool in apt-get dpkg-deb; do
    command -v $tool >/dev/null || fail "there is no prometheus and no promtool, and no $tool to get \
them with; install Prometheus so that both are on the PATH."
done

mkdir -p build
work=$(mktemp -d build/test-tools.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
log=$work/log

download() { (cd "$work" && apt-get download "$PACKAGE") >"$log" 2>&1; }

say "Fetching Debian's $PACKAGE into $TOOLS, for the tests"
if ! download; then
    # Most often the lists of packages are missing or too old.
    if [ "$(id -u)" -ne 0 ]; then
        tail -n 20 "$log" >&2
        fail "apt-get could not download $PACKAGE. Run this, then try again:
    sudo apt-get update"
    fi
    if ! { apt-get update >"$log" 2>&1 && download; }; then
        tail -n 20 "$log" >&2
        fail "apt-get could not download $PACKAGE; its last lines are above."
    fi
fi
dpkg-deb -x "$work"/${PACKAGE}_*.deb "$work/tools" || fail "the package of $PACKAGE is damaged."
rm -rf $TOOLS
# All at once: a set-up that is interrupted leaves nothing that looks complete.
mv "$work/tools" $TOOLS
