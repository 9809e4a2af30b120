#!/bin/sh
# Resolves requirements.lock anew from setup.cfg, and docker/requirements.lock, which are those of
# its versions that the image hogar/node holds; with uv in an environment of its own.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
TOOLS=build/lock-tools

mkdir -p build
log=build/lock.log
if ! "$TOOLS/bin/uv" --version 2>/dev/null | grep -q "^uv $UV_VERSION"; then
    echo "Installing uv $UV_VERSION into $TOOLS"
    rm -rf "$TOOLS"
    .venv/bin/python -m venv "$TOOLS"
    if ! "$TOOLS/bin/python" -m pip install "uv==$UV_VERSION" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        exit 1
    fi
fi
echo "Resolving requirements.lock"
"$TOOLS/bin/uv" pip compile setup.cfg --all-extras --universal --python-version 3.11 \
    --generate-hashes --no-header --no-emit-index-url -q -o requirements.lock
.venv/bin/python scripts/node_package.py | "$TOOLS/bin/uv" pip compile - -c requirements.lock \
    --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
    --no-annotate -q -o docker/requirements.lock
