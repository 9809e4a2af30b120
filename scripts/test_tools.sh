#!/bin/sh
# Puts what the tests need besides Python into build: Debian's prometheus and promtool into
# build/test-tools, PostgreSQL into build/test-postgres, and Graphviz into build/test-graphviz.
# Packages are unpacked, not installed, so no service of them ever starts. Does nothing for what is on this machine, or there already.
set -eu
cd "$(dirname "$0")/.."

TOOLS=build/test-tools
POSTGRES=build/test-postgres
GRAPHVIZ=build/test-graphviz

say() { printf '%s\n' "$*"; }
fail() {
    printf 'Set-up failed: %s\n' "$*" >&2
    exit 1
}

has_prometheus() {
    { command -v prometheus >/dev/null && command -v promtool >/dev/null; } ||
        { [ -x $TOOLS/usr/bin/prometheus ] && [ -x $TOOLS/usr/bin/promtool ]; }
}

has_postgres() {
    command -v initdb >/dev/null && command -v pg_ctl >/dev/null && return
    for root in "" $POSTGRES; do
        for programs in "$root"/usr/lib/postgresql/*/bin; do
            [ -x "$programs/initdb" ] && [ -x "$programs/pg_ctl" ] && return
        done
    done
    return 1
}

has_graphviz() { command -v dot >/dev/null || [ -x $GRAPHVIZ/usr/bin/dot ]; }

# Has Graphviz write down which plug-ins it has: installing the package would do that.
list_graphviz_plugins() {
    for plugins in "$(pwd)"/$GRAPHVIZ/usr/lib/*/graphviz; do
        GVBINDIR=$plugins LD_LIBRARY_PATH=${plugins%/graphviz} $GRAPHVIZ/usr/bin/dot -c ||
            fail "Graphviz in $GRAPHVIZ does not run; its message is above."
    done
}

# Downloads a package into the working folder.
download() { (cd "$work" && apt-get download "$1") >"$log" 2>&1; }

# The same with all that it needs and that this machine does not have. Nothing is installed, so
# neither root nor the lock of the packages' database is needed.
download_all() {
    mkdir -p "$work/partial" &&
        apt-get install --download-only --no-install-recommends -y -o Debug::NoLocking=1 \
            -o APT::Sandbox::User=root -o Dir::Cache::archives="$(pwd)/$work" "$1" >"$log" 2>&1
}

# Unpacks a package into a folder, all at once: a set-up that is interrupted leaves nothing that
# looks complete.
fetch() { # PACKAGE FOLDER HOW
    package=$1
    folder=$2
    how=$3
    for tool in apt-get dpkg-deb; do
        command -v $tool >/dev/null || fail "there is no $package, and no $tool to get it with; \
install it so that its programs are on the PATH."
    done
    mkdir -p build
    work=$(mktemp -d build/test-tools.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    log=$work/log
    say "Fetching Debian's $package into $folder, for the tests"
    if ! "$how" "$package"; then
        # Most often the lists of packages are missing or too old.
        if [ "$(id -u)" -ne 0 ]; then
            tail -n 20 "$log" >&2
            fail "apt-get could not download $package. Run this, then try again:
    sudo apt-get update"
        fi
        if ! { apt-get update >"$log" 2>&1 && "$how" "$package"; }; then
            tail -n 20 "$log" >&2
            fail "apt-get could not download $package; its last lines are above."
        fi
    fi
    for archive in "$work"/*.deb; do
        case $archive in
            # A hundred megabytes that only make long queries faster.
            */libllvm*) continue ;;
        esac
        dpkg-deb -x "$archive" "$work/tools" || fail "the package $archive is damaged."
    done
    rm -rf "$folder"
    mv "$work/tools" "$folder"
    rm -rf "$work"
}

has_prometheus || fetch prometheus $TOOLS download
has_postgres || fetch postgresql $POSTGRES download_all
has_graphviz || { fetch graphviz $GRAPHVIZ download_all && list_graphviz_plugins; }
