#!/bin/sh
# Puts the platforms that compiled graphs are tried on into environments of their own, below build:
# Ray Serve into build/ray-env, KServe's model classes and GJSON into build/kserve-env. Does nothing
# for what is there already. HOGAR_SKIP_PEERS="ray kserve" leaves those out: their tests say so and skip.
set -eu
cd "$(dirname "$0")/.."

PYTHON=.venv/bin/python

fail() {
    printf 'Set-up failed: %s\n' "$*" >&2
    exit 1
}

# Makes an environment all at once: a set-up that is interrupted leaves nothing that looks complete.
# What is installed with --no-deps comes first; the rest is what the tests need of it.
make_env() { # NAME PROGRAM ALONE PACKAGE...
    name=$1
    program=$2
    alone=$3
    shift 3
    folder=build/$name-env
    mkdir -p build
    rm -f "build/$name-env.skipped"
    [ -x "$folder/bin/$program" ] && [ -e "$folder/complete" ] && return
    case " ${HOGAR_SKIP_PEERS:-} " in
        *" $name "*)
            : >"build/$name-env.skipped"
            return
            ;;
    esac
    [ -x $PYTHON ] || fail "there is no $PYTHON; run make setup first."
    printf '%s\n' "Installing $* ${alone:+and $alone }into $folder, for the tests"
    rm -rf "$folder"
    log=$(mktemp)
    if ! {
        $PYTHON -m venv "$folder" &&
            { [ -z "$alone" ] || "$folder/bin/pip" install --no-deps "$alone"; } &&
            "$folder/bin/pip" install "$@"
    } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -rf "$folder" "$log"
        fail "pip could not install $*; its last lines are above. HOGAR_SKIP_PEERS=$name leaves it out."
    fi
    rm -f "$log"
    : >"$folder/complete"
}

make_env ray serve "" "ray[serve]>=2.40,<3"
# pygjson has GJSON's Rust port: an InferenceGraph reads conditions as GJSON paths.
make_env kserve python "kserve>=0.15,<1" "kubernetes>=28,<40" "pygjson>=0.0.10,<1" \
    six "python-dateutil>=2.8,<3"
