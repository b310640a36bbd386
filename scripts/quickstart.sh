#!/usr/bin/env bash
# From nothing to the memory result: installs the project and runs scripts/memory_experiment.py with
# the tiny network.
#
#   bash scripts/quickstart.sh [--quick] [--task TASK] [--seed N] [--output DIR] [--describe]
#
# Needs python3 (3.10 or newer) with its venv module. Settings: see scripts/environment.sh.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
caller="$PWD"
cd "$root"
source scripts/environment.sh

check_machine
cd "$caller" # paths among the arguments are meant from here
arguments=(--output "$root/quickstart_output" "$@")
plan="$("$python" "$root/scripts/memory_experiment.py" "${arguments[@]}" --describe)" || exit
case " $* " in # the script above has answered already
    *" -h"* | *" --help "* | *" --describe "*) echo "$plan" && exit ;;
esac
cat <<TEXT
$plan
Before that, installation into $venv:
$install_cost.
TEXT

cd "$root"
started=$SECONDS
prepare_environment sim
echo "installation	$((SECONDS - started)) seconds"
cd "$caller"
exec "$venv/bin/python" "$root/scripts/memory_experiment.py" "${arguments[@]}"
