#!/bin/sh
# Installs what the tests of containers and of several hosts need: Debian's Docker daemon,
# docker-compose and ip. They need root to run, as the daemon and network namespaces do; without it,
# or without apt-get, they are skipped and say so.
set -eu

PACKAGES="docker.io docker-compose iproute2"

command -v dockerd >/dev/null && command -v docker-compose >/dev/null && command -v ip >/dev/null && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    printf '%s\n' "No Docker daemon here, and none is installed: the tests of containers are skipped."
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP
printf '%s\n' "Installing Debian's $PACKAGES, for the tests"
export DEBIAN_FRONTEND=noninteractive
# The tests start a daemon of their own; the package's needs not run.
# shellcheck disable=SC2086
if ! { apt-get update && RUNLEVEL=1 apt-get install -y --no-install-recommends $PACKAGES; } \
    >"$log" 2>&1; then
    tail -n 5 "$log"
    printf '%s\n' "Docker could not be installed: the tests of containers are skipped."
fi
