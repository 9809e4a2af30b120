#!/bin/sh
# Removes what set-up, demo and tests have made. Refuses while a demo runs.
set -eu
cd "$(dirname "$0")/.."

if [ -e .demo/lock.json ] && ! flock --nonblock .demo/lock.json true; then
    echo "A demo runs here; stop it with Ctrl-C in its terminal first." >&2
    exit 1
fi
rm -rf .venv .airflow .demo build dist ./*.egg-info test-output \
    .pytest_cache .mypy_cache .ruff_cache .hypothesis \
    hogar_provider/plugins/www/node_modules hogar_provider/plugins/www/dist \
    hogar_provider/plugins/www/build \
    earg/protos/*_pb2.py earg/protos/*_pb2.pyi earg/protos/*_pb2_grpc.py
find . -name __pycache__ -type d -prune -exec rm -rf {} +
