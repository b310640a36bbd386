#!/usr/bin/env bash
# Installs CoppeliaSim 4.1, PyRep, RLBench and YARR for `--backend rlbench`; see docs/rlbench.md.
#
#   bash scripts/install_rlbench.sh --coppeliasim FILE_OR_ADDRESS [--prefix DIR] [--without-yarr]
#
# Run it in the Python environment that holds sam2act. What is there already is kept.
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh # fail, python, torch_build

ARCHIVE=CoppeliaSim_Edu_V4_1_0_Ubuntu20_04.tar.xz
# The published evaluation runs on the forks in this folder of this repository.
PUBLISHED=https://github.com/sam2act/sam2act.git
PUBLISHED_FORKS=sam2act/libs
usage() {
    cat <<TEXT
usage: bash scripts/install_rlbench.sh [--coppeliasim FILE_OR_ADDRESS] [--prefix DIR] [--without-yarr]

  --coppeliasim X   $ARCHIVE, as a file or as a web address
                    (default: \$COPPELIASIM_ARCHIVE; not needed if \$COPPELIASIM_ROOT is set)
  --prefix DIR      where CoppeliaSim and rlbench.env go (default: assets/rlbench)
  --without-yarr    leave YARR out; only sam2act/envs/rlbench/yarr_agent.py needs it

Settings from outside:
  PYTHON               interpreter of the environment that holds sam2act (default: python3)
  COPPELIASIM_ROOT     an unpacked CoppeliaSim 4.1 to use
  COPPELIASIM_SHA256   what the archive's SHA-256 must be
  PYREP_REPOSITORY, RLBENCH_REPOSITORY, YARR_REPOSITORY         git addresses
  PYREP_SUBDIRECTORY, RLBENCH_SUBDIRECTORY, YARR_SUBDIRECTORY   folder of the package in it
  PYREP_COMMIT, RLBENCH_COMMIT, YARR_COMMIT                     full commits

Without a repository the forks in $PUBLISHED_FORKS of $PUBLISHED
are installed, which hold all 21 tasks; in another repository the package is looked for at the top
(subdirectory "."). Without a commit the newest one is installed; rlbench.env notes what was chosen,
and the next run keeps to it.
TEXT
}

archive="${COPPELIASIM_ARCHIVE:-}" prefix="$PWD/assets/rlbench" packages=(pyrep rlbench yarr)
while [ $# -gt 0 ]; do
    case "$1" in
        --coppeliasim | --prefix)
            case "${2:-}" in
                "" | -*) fail "$1 needs a value" ;;
            esac
            if [ "$1" = --prefix ]; then
                prefix="$(cd "$caller" && realpath -m "$2")"
            else
                archive="$2"
            fi
            shift
            ;;
        --without-yarr) packages=(pyrep rlbench) ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && fail "unknown argument $1" ;;
    esac
    shift
done
notes="$prefix/rlbench.env"

check_tools() {
    local tool
    check_python
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "CoppeliaSim 4.1 runs on Linux x86_64 only"
    for tool in git tar xz sha256sum; do
        command -v "$tool" >/dev/null 2>&1 || fail "no $tool; on Debian: apt install git tar xz-utils"
    done
    command -v cc >/dev/null 2>&1 || fail "no C compiler for PyRep; on Debian: apt install gcc"
}

check_python() {
    command -v "$python" >/dev/null 2>&1 || fail "no $python; set PYTHON"
    "$python" -m pip --version >/dev/null 2>&1 ||
        fail "$python has no pip; activate the environment that holds sam2act, or set PYTHON"
}

# Packages of other projects that bear the names of the simulator stack.
check_names() {
    local package
    for package in "${packages[@]}"; do
        "$python" - "$package" <<'PYTHON' || fail "remove it: $python -m pip uninstall $package"
import sys
from importlib.util import find_spec
from sam2act.envs.rlbench.versions import require_packages
if find_spec(sys.argv[1]):
    try:
        require_packages(sys.argv[1:], "backend rlbench")
    except RuntimeError as error:
        sys.exit(str(error))
PYTHON
    done
}

# noted NAME: the value of a setting in an earlier run.
noted() {
    [ ! -f "$notes" ] || (unset "$1" && source "$notes" && echo "${!1:-}")
}

# What is not set is as in an earlier run; its folder and commit count for the same repository only.
choose_sources() {
    local name repository
    declare -A folder=([PYREP]=PyRep [RLBENCH]=RLBench [YARR]=YARR)
    for name in PYREP RLBENCH YARR; do
        repository="${name}_REPOSITORY"
        [ -n "${!repository:-}" ] || export "$repository=$(noted "$repository")"
        [ -n "${!repository}" ] || export "$repository=$PUBLISHED"
        if [ "$(noted "$repository")" = "${!repository}" ]; then
            keep_noted "${name}_SUBDIRECTORY"
            keep_noted "${name}_COMMIT"
        fi
        choose_subdirectory "${!repository}" "${name}_SUBDIRECTORY" "$PUBLISHED_FORKS/${folder[$name]}"
    done
}

keep_noted() {
    [ -n "${!1:-}" ] || export "$1=$(noted "$1")"
}

# choose_subdirectory REPOSITORY SETTING FORK: where the package lies if nobody says so.
choose_subdirectory() {
    local address="${1%/}"
    [ -z "${!2:-}" ] || return 0
    if [ "${address%.git}" = "${PUBLISHED%.git}" ]; then export "$2=$3"; else export "$2=."; fi
}

holds_library() {
    [ -e "$1/libcoppeliaSim.so" ]
}

install_coppeliasim() {
    if [ -n "${COPPELIASIM_ROOT:-}" ]; then
        holds_library "$COPPELIASIM_ROOT" || fail "COPPELIASIM_ROOT: no libcoppeliaSim.so in $COPPELIASIM_ROOT"
        echo "== Using CoppeliaSim in $COPPELIASIM_ROOT"
        return
    fi
    export COPPELIASIM_ROOT="$prefix/CoppeliaSim"
    if holds_library "$COPPELIASIM_ROOT"; then
        echo "== Using CoppeliaSim in $COPPELIASIM_ROOT"
        return
    fi
    [ -n "$archive" ] || fail "which CoppeliaSim? Get $ARCHIVE from the previous versions on the site of
Coppelia Robotics (mind its licence), and pass it: --coppeliasim FILE_OR_ADDRESS"
    fetch_archive
    unpack_archive
}

# Leaves the path of a local file in `archive`.
fetch_archive() {
    case "$archive" in
        http://* | https://*)
            local file="$prefix/$ARCHIVE"
            if [ ! -f "$file" ]; then
                echo "== Downloading $archive"
                "$python" - "$archive" "$file.part" <<'PYTHON' || fail "$archive cannot be downloaded"
import sys
import urllib.request
urllib.request.urlretrieve(*sys.argv[1:])
PYTHON
                mv "$file.part" "$file"
            fi
            archive="$file"
            ;;
        *) archive="$(cd "$caller" && realpath -m "$archive")" ;;
    esac
    [ -f "$archive" ] || fail "$archive: no such file"
    local digest
    digest="$(sha256sum "$archive" | cut -d ' ' -f 1)"
    if [ -n "${COPPELIASIM_SHA256:-}" ] && [ "$digest" != "$COPPELIASIM_SHA256" ]; then
        fail "$archive: SHA-256 is $digest, not $COPPELIASIM_SHA256; remove the file and get it again"
    fi
    echo "== SHA-256 of $archive: $digest"
}

# The folder appears complete or not at all.
unpack_archive() {
    local partial="$COPPELIASIM_ROOT.part"
    rm -rf "$partial"
    mkdir -p "$partial"
    tar -xf "$archive" -C "$partial" --strip-components=1 ||
        fail "$archive cannot be unpacked; remove it and get it again"
    holds_library "$partial" || fail "$archive holds no libcoppeliaSim.so; it should be $ARCHIVE"
    rm -rf "$COPPELIASIM_ROOT"
    mv "$partial" "$COPPELIASIM_ROOT"
}

# PyRep links against this name, which the archive may lack.
link_library() {
    [ -e "$COPPELIASIM_ROOT/libcoppeliaSim.so.1" ] ||
        ln -s libcoppeliaSim.so "$COPPELIASIM_ROOT/libcoppeliaSim.so.1" ||
        fail "$COPPELIASIM_ROOT/libcoppeliaSim.so.1 cannot be made; link it to libcoppeliaSim.so"
}

choose_commits() {
    local package repository commit
    for package in "${packages[@]}"; do
        repository="${package^^}_REPOSITORY" commit="${package^^}_COMMIT"
        [ -z "${!commit:-}" ] || continue
        export "$commit=$(git ls-remote "${!repository}" HEAD 2>/dev/null | cut -f 1)"
        [ -n "${!commit}" ] || fail "${!repository} cannot be reached; set $repository to another place"
        echo "== $commit is not set: taking the newest, ${!commit}"
    done
}

write_notes() {
    local name
    {
        echo "# Made by scripts/install_rlbench.sh. Before starting Python: source $notes"
        printf 'export COPPELIASIM_ROOT=%q\n' "$COPPELIASIM_ROOT"
        echo 'export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$COPPELIASIM_ROOT"'
        echo 'export QT_QPA_PLATFORM_PLUGIN_PATH="$COPPELIASIM_ROOT"'
        for name in {PYREP,RLBENCH,YARR}_{REPOSITORY,SUBDIRECTORY,COMMIT}; do
            printf 'export %s=%q\n' "$name" "${!name:-}"
        done
    } >"$notes.part"
    mv "$notes.part" "$notes"
}

pip_install() {
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

install_packages() {
    local package line reference constraints=()
    if [ "$torch_build" = cpu ]; then constraints=(-c requirements/constraints-cpu.txt); fi
    pip_install -e ".[rlbench]" setuptools wheel "${constraints[@]}"
    for package in "${packages[@]}"; do
        line="$(mktemp)"
        grep "^$package @ " requirements/rlbench.txt >"$line"
        reference="$(filled_in "$line")"
        if "$python" -m pip freeze 2>/dev/null | grep -qixF "$reference"; then
            echo "== $package is installed from ${reference#* @ }"
        else
            echo "== Installing $package from ${reference#* @ }"
            # Their own requirements would bring other versions of each other; the extra has the needs.
            pip_install --no-deps --no-build-isolation -r "$line" ||
                fail "$package cannot be installed from ${reference#* @ }; see above
(${package^^}_REPOSITORY, ${package^^}_SUBDIRECTORY and ${package^^}_COMMIT name another place)"
        fi
        rm -f "$line"
    done
}

# filled_in FILE: its text with the variables replaced, as pip does it and as pip freeze writes it.
filled_in() {
    "$python" -c 'import os, sys; print(os.path.expandvars(open(sys.argv[1]).read()).strip())' "$1"
}

check_tools
check_names
mkdir -p "$prefix"
choose_sources
install_coppeliasim
link_library
choose_commits
write_notes
source "$notes"
install_packages
"$python" -m sam2act.doctor || fail "the core of sam2act is incomplete; see the table"
cat <<TEXT

In every shell, before starting Python:
    source $notes
With a display, or with xvfb-run -a in front:
    python sam2act/eval.py --headless --backend rlbench --tasks open_drawer ...
TEXT
