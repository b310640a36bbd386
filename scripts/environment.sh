# Shared by quickstart.sh and test.sh: checks the machine and prepares the virtual environment.
# Source it with the working directory at the root of the checkout.
#
# Settings from outside: PYTHON (default python3), SAM2ACT_VENV (default .venv in the checkout).

python="${PYTHON:-python3}"
venv="${SAM2ACT_VENV:-$PWD/.venv}"
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    torch_build=cuda
    install_cost="some minutes and about 6 GB"
else
    torch_build=cpu
    install_cost="about a minute and 1.4 GB where pip finds a CPU build of torch, else about 5 GB"
fi

fail() {
    echo "$0: $*" >&2
    exit 1
}

check_machine() {
    command -v "$python" >/dev/null 2>&1 || fail "no $python; install Python 3.10 or newer"
    [ "$("$python" -c 'print("Py" + "thon")' 2>/dev/null)" = Python ] ||
        fail "$python is not a Python interpreter; set PYTHON to one of 3.10 or newer"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$python" --version) is too old; install Python 3.10 or newer, or set PYTHON"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: apt install python3-venv"
    if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && ! made_here; then
        fail "$venv exists and was not made by this script; move it or set SAM2ACT_VENV"
    fi
}

# Whether the environment holds a stamp of this script: only then may it be removed.
made_here() {
    grep -qsxE '[0-9a-f]{64}|unfinished' "$venv"/installed.*
}

# Makes an empty environment. Its first file is a stamp and its last to go too, so that one that was
# interrupted half-way is still known to be ours.
renew_environment() {
    if [ -d "$venv" ]; then
        find "$venv/" -mindepth 1 -maxdepth 1 ! -name 'installed.*' -exec rm -rf {} +
    fi
    rm -rf "$venv"
    mkdir -p "$venv"
    echo unfinished >"$venv/installed.unfinished"
    "$python" -m venv "$venv"
}

# Everything an installation depends on: the requirements, the interpreter, the kind of torch.
fingerprint() {
    {
        cat setup.py requirements/*
        "$python" -c 'import sys; print(sys.version, sys.executable)'
        echo "$PWD $torch_build"
    } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

# prepare_environment EXTRAS [PIP OPTIONS]: installs the checkout, for example with EXTRAS "" or
# "dev". An environment that already holds these extras is reused; others are added to it.
prepare_environment() {
    local extras="$1" options=("${@:2}") stamp="$venv/installed.${1:-core}" wanted
    wanted="$(fingerprint)"
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "== Using the environment in $venv"
        return
    fi
    echo "== Installing into $venv ($torch_build build of torch)"
    if [ "$(cat "$venv"/installed.* 2>/dev/null | sort -u)" != "$wanted" ]; then
        renew_environment
    fi
    local constraints=()
    if [ "$torch_build" = cpu ]; then constraints=(-c requirements/constraints-cpu.txt); fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        "${options[@]}" -e ".${extras:+[$extras]}" "${constraints[@]}"
    echo "$wanted" >"$stamp"
    rm -f "$venv/installed.unfinished"
}
