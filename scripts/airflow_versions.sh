#!/bin/sh
# Runs tests of the provider with older Airflows: makes build/airflow-VERSION for each version, with
# the libraries of that Airflow's time, and this checkout on top. The first time it needs a network.
#
# VERSIONS chooses the versions, TESTS the tests: VERSIONS=3.2.2 TESTS=tests/e2e/test_live_view.py
set -eu
cd "$(dirname "$0")/.."

# One a minor version, and a day soon after its release: newer libraries may not fit it.
KNOWN="3.1.8:2026-03-20 3.2.2:2026-06-10"
UV_VERSION=0.13.9
TOOLS=build/lock-tools
PYTHON=.venv/bin/python
EXTRAS="airflow node kubernetes docker lsp demo dev"

day_of() {
    for known in $KNOWN; do
        [ "${known%%:*}" != "$1" ] || printf '%s\n' "${known#*:}"
    done
}

make_environment() { # VERSION
    place=build/airflow-$1
    day=$(day_of "$1")
    [ -n "$day" ] || {
        echo "No day is known for Airflow $1: add it to KNOWN in $0." >&2
        exit 1
    }
    made="$(pwd) $day $(cat setup.cfg pyproject.toml | sha256sum)"
    [ "$(cat "$place/.made" 2>/dev/null)" != "$made" ] || return 0
    echo "Making $place with libraries of $day"
    if ! "$TOOLS/bin/uv" --version 2>/dev/null | grep -q "^uv $UV_VERSION"; then
        rm -rf "$TOOLS"
        $PYTHON -m venv "$TOOLS"
        "$TOOLS/bin/python" -m pip install -q "uv==$UV_VERSION"
    fi
    rm -rf "$place"
    "$TOOLS/bin/uv" venv -q --python "$PYTHON" "$place"
    # As Airflow's own constraints do: they hold for it and its providers, and what else they need.
    printf '%s\n' "apache-airflow==$1" apache-airflow-providers-fab apache-airflow-providers-docker \
        apache-airflow-providers-cncf-kubernetes apache-airflow-providers-postgres |
        "$TOOLS/bin/uv" pip compile -q --python "$place/bin/python" --exclude-newer "$day" \
            --no-header --no-annotate -o "$place/constraints.txt" -
    # shellcheck disable=SC2086
    "$TOOLS/bin/uv" pip install -q --python "$place/bin/python" -c "$place/constraints.txt" \
        -r setup.cfg $(printf -- '--extra %s ' $EXTRAS)
    # What is generated lies in the checkout since its own set-up.
    PYTHONPATH= HOGAR_SKIP_WWW=1 "$TOOLS/bin/uv" pip install -q --no-deps \
        --python "$place/bin/python" -e .
    printf '%s\n' "$made" >"$place/.made"
}

for version in ${VERSIONS:-3.1.8 3.2.2}; do
    make_environment "$version"
    python=build/airflow-$version/bin/python
    echo "Airflow $version"
    if [ -n "${TESTS:-}" ]; then
        # shellcheck disable=SC2086
        $python -m pytest -q $TESTS
    else
        $python -m pytest -q -m "not slow" tests/hogar_provider tests/dags
        $python -m pytest -q tests/hogar_provider/test_airflow.py tests/hogar_provider/test_cli.py \
            tests/hogar_provider/test_api_permissions.py tests/e2e/test_airflow_tasks.py \
            tests/e2e/test_training.py tests/e2e/test_live_view.py tests/e2e/test_postgres_fab.py
    fi
done
