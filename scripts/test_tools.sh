#!/bin/sh
# Gets what the tests need besides Python and Node: Debian's chromium, which is installed, and its
# prometheus and promtool, which are unpacked into build/test-tools, so that no service of theirs
# ever starts. Does nothing for what is on the PATH, or there already.
set -eu
cd "$(dirname "$0")/.."

PACKAGE=prometheus
TOOLS=build/test-tools

say() { printf '%s\n' "$*"; }
fail() {
    printf 'Set-up failed: %s\n' "$*" >&2
    exit 1
}

# A browser needs the libraries of its package, so it is installed as they are.
if ! command -v chromium >/dev/null; then
    packages="chromium fonts-dejavu-core"
    command -v apt-get >/dev/null || fail "there is no chromium, and no apt-get to install it with; \
install Chromium so that it is on the PATH."
    if [ "$(id -u)" -ne 0 ]; then
        fail "there is no chromium. Run this, then try again:
    sudo apt-get update && sudo apt-get install -y $packages"
    fi
    say "Installing Debian's chromium, for the tests"
    browser_log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    if ! { apt-get update && apt-get install -y --no-install-recommends $packages; } \
        >"$browser_log" 2>&1
    then
        tail -n 20 "$browser_log" >&2
        rm -f "$browser_log"
        fail "apt-get could not install chromium; its last lines are above."
    fi
    rm -f "$browser_log"
fi

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
