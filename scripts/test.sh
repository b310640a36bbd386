#!/usr/bin/env bash
# Installs the project and runs every check: bash scripts/test.sh [pytest arguments]
#
# Needs python3 (3.10 or newer) with its venv module and a C compiler. Further settings:
#   SAM2ACT_VENV   folder of the virtual environment (default: .venv in the checkout)
#   PYTHON         interpreter to build it with (default: python3)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
venv="${SAM2ACT_VENV:-$PWD/.venv}"

fail() {
    echo "scripts/test.sh: $*" >&2
    exit 1
}

has_gpu() {
    command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU'
}

check_machine() {
    command -v "$python" >/dev/null 2>&1 || fail "no $python; install Python 3.10 or newer"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$python" --version) is too old; install Python 3.10 or newer, or set PYTHON"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: apt install python3-venv"
    for compiler in "${CC:-cc}" gcc clang; do
        if command -v "${compiler%% *}" >/dev/null 2>&1; then
            return
        fi
    done
    fail "no C compiler, which the fast CPU renderer needs; on Debian: apt install gcc libc6-dev"
}

# Everything an installation depends on: the requirements, the interpreter, the kind of torch.
fingerprint() {
    {
        cat setup.py requirements/*
        "$python" -c 'import sys; print(sys.version, sys.executable)'
        echo "$PWD $kind"
    } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

install() {
    local stamp="$venv/installed"
    local wanted
    wanted="$(fingerprint)"
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "== Using the environment in $venv"
        return
    fi
    echo "== Installing into $venv ($kind)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    if [ "$kind" = cpu ]; then
        "$venv/bin/python" -m pip install --quiet -e ".[dev]" -c requirements/constraints-cpu.txt
    else
        "$venv/bin/python" -m pip install --quiet -e ".[dev]"
    fi
    echo "$wanted" >"$stamp"
}

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
if has_gpu; then kind=cuda; else kind=cpu; fi
cores="$(nproc 2>/dev/null || echo 2)"

cat <<TEXT
This installs sam2act with its test tools ($kind build of torch; about a minute and 1.2 GB without a
GPU, some minutes and 6 GB with one; skipped if nothing has changed) and then checks style, types and
behaviour on $cores cores. Altogether about 5 to 10 minutes on two cores.
TEXT

install
export OMP_NUM_THREADS=1
bin="$venv/bin"
check "$bin/ruff" check .
check "$bin/ruff" format --check .
check "$bin/mypy"
# pytest ends with code 5, a failure here too, if it finds no test to run.
check "$bin/pytest" -n "$cores" "$@"

if [ "${#failed[@]}" -gt 0 ]; then
    printf '== Failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "== All checks passed."
