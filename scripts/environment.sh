# Shared by quickstart.sh and test.sh: checks the machine and prepares the virtual environment.
# Source it with the working directory at the root of the checkout.
#
# Settings from outside: PYTHON (default python3), SAM2ACT_VENV (default .venv in the checkout).

python="${PYTHON:-python3}"
venv="${SAM2ACT_VENV:-$PWD/.venv}"
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    torch_build=cuda
else
    torch_build=cpu
fi

fail() {
    echo "$0: $*" >&2
    exit 1
}

check_machine() {
    command -v "$python" >/dev/null 2>&1 || fail "no $python; install Python 3.10 or newer"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$python" --version) is too old; install Python 3.10 or newer, or set PYTHON"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: apt install python3-venv"
}

# Everything an installation depends on: the requirements, the interpreter, the kind of torch.
fingerprint() {
    {
        cat setup.py requirements/*
        "$python" -c 'import sys; print(sys.version, sys.executable)'
        echo "$PWD $torch_build"
    } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# prepare_environment EXTRAS: installs the checkout, for example with EXTRAS "" or "dev". An
# environment that already holds these extras is reused; others are added to it.
prepare_environment() {
    local extras="$1" stamp="$venv/installed.${1:-core}" wanted
    wanted="$(fingerprint)"
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "== Using the environment in $venv"
        return
    fi
    echo "== Installing into $venv ($torch_build build of torch)"
    if [ "$(cat "$venv"/installed.* 2>/dev/null | sort -u)" != "$wanted" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
    local constraints=()
    if [ "$torch_build" = cpu ]; then constraints=(-c requirements/constraints-cpu.txt); fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -e ".${extras:+[$extras]}" "${constraints[@]}"
    echo "$wanted" >"$stamp"
}
