#!/usr/bin/env bash
# Installs the project and runs every check: bash scripts/test.sh [pytest arguments]
#
# Needs python3 (3.10 or newer) with its venv module. Settings: see scripts/environment.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

# Runs one check and remembers a failure, so that the others still run.
failed=()
check() {
    echo "== $*"
    local code=0
    "$@" || code=$?
    if [ "$code" -ne 0 ]; then
        failed+=("$(basename "$1") ${2:-} (exit code $code)")
    fi
}

check_machine
cores="$(nproc 2>/dev/null || echo 2)"
workers="$((cores < 8 ? cores : 8))" # one test file builds the full network: 1.5 GB per worker

cat <<TEXT
This installs sam2act with its test tools ($torch_build build of torch:
$install_cost;
skipped if nothing has changed) and then checks style, types and behaviour. Altogether 11 to 14 minutes
on two quiet cores of an AMD EPYC or Intel Xeon without GPU.
TEXT

# Modules are compiled when they are imported; compiling all takes half of the installation.
unset PYTHONDONTWRITEBYTECODE
prepare_environment dev --no-compile
export OMP_NUM_THREADS=1
bin="$venv/bin"
check "$bin/ruff" check .
check "$bin/ruff" format --check .
check "$bin/mypy"
# pytest ends with code 5, a failure here too, if it finds no test to run.
check "$bin/pytest" -n "$workers" --dist loadfile "$@"

if [ "${#failed[@]}" -gt 0 ]; then
    printf '== Failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "== All checks passed."
