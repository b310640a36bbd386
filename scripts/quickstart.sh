#!/usr/bin/env bash
# From nothing to trained: installs, trains the tiny network on recorded demonstrations and shows
# what it predicts.
#
#   bash scripts/quickstart.sh [--quick] [--data DIR] [--output DIR]
#
# Needs python3 (3.10 or newer) with its venv module. Settings: see scripts/environment.sh.
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

usage() {
    cat <<TEXT
usage: bash scripts/quickstart.sh [--quick] [--data DIR] [--output DIR]

  --quick       a fifth of the training: shows that everything works; its figures mean little
  --data DIR    demonstrations, DIR/train/<task>/all_variations/episodes/episode<N>
                (default: \$SAM2ACT_DEMOS_DIR, else ../shared/rlbench_demos)
  --output DIR  where stores, checkpoints and the page go (default: quickstart_output)

Trains on episodes 0 and 1 of the first task, holds episode 2 out, and predicts all three.
TEXT
}

# where: how messages call the place that a path comes from.
data="../shared/rlbench_demos" data_where="the checkout"
if [ -n "${SAM2ACT_DEMOS_DIR:-}" ]; then
    data="$(cd "$caller" && realpath -m "$SAM2ACT_DEMOS_DIR")" data_where=SAM2ACT_DEMOS_DIR
fi
output="$PWD/quickstart_output" output_where="the checkout"
name=tiny epochs=5 minutes="4 to 8"
while [ $# -gt 0 ]; do
    case "$1" in
        --data | --output)
            case "${2:-}" in
                "" | -*) fail "$1 needs a folder" ;;
            esac
            path="$(cd "$caller" && realpath -m "$2")"
            if [ "$1" = --data ]; then
                data="$path" data_where=--data
            else
                output="$path" output_where=--output
            fi
            shift
            ;;
        --quick) name=quick epochs=1 minutes="1 to 3" ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && fail "unknown argument $1" ;;
    esac
    shift
done
data="$(realpath -m "$data")"

# require_no_space WHERE PATH: options are passed on as one line, cut at spaces.
require_no_space() {
    case "$2" in
        *[[:space:]]*) fail "the path of $1 must not contain spaces: $2" ;;
    esac
}

first_task() {
    local episodes
    for episodes in "$data"/train/*/all_variations/episodes; do
        if [ -d "$episodes/episode0" ] && [ -d "$episodes/episode1" ]; then
            basename "$(dirname "$(dirname "$episodes")")"
            return
        fi
    done
}

require_no_space "$data_where" "$data"
require_no_space "$output_where" "$output"
task="$(first_task)"
if [ -z "$task" ]; then
    cat >&2 <<TEXT
No demonstrations in $data: expected train/<task>/all_variations/episodes/episode0 and episode1.

Get recorded RLBench demonstrations (the PerAct data set, one archive per task) as described by
    python3 scripts/download_assets.py --list
unpack one task, for example open_drawer, so that the folders are named as above, and run
    bash scripts/quickstart.sh --data DIR
Or make some in the embedded simulator (pip install -e ".[sim]"):
    python3 scripts/generate_demos.py --tasks open_drawer --episodes 3 --output data/train
    bash scripts/quickstart.sh --data data
TEXT
    if [ "$(basename "$data")" = train ]; then
        echo "Did you mean its parent?  --data $(dirname "$data")" >&2
    fi
    exit 2
fi

held_out=()
options="tasks $task exp_id quickstart exp_name $name demo 2 epochs $epochs log_every 10"
options+=" data_folder $data store_folder $output/store"
if [ -d "$data/train/$task/all_variations/episodes/episode2" ]; then
    held_out=(2)
    options+=" validation.split train validation.demo_start 2 validation.demo 1"
fi

check_machine
cat <<TEXT
Quick start on $task, $minutes minutes on two CPU cores (longer on a slow network):
  1. installation into $venv:
     $install_cost
  2. training of the tiny network on episodes 0 and 1, $((epochs * 100)) updates of 16 samples
  3. prediction of episodes 0, 1${held_out:+ and, never trained on, 2}
Running it again resumes. Everything is written below $output.
TEXT

prepare_environment sim
"$venv/bin/python" -m sam2act.train --exp_cfg_path configs/tiny.yaml \
    --mvt_cfg_path configs/mvt/tiny.yaml --exp_cfg_opts "$options" --log-dir "$output/runs"
"$venv/bin/python" scripts/predict_demo.py --checkpoint "$output/runs/quickstart_$name/model_last.pth" \
    --episodes 0 1 "${held_out[@]}" --task "$task" --output "$output/predictions_$name"
echo "Open $output/predictions_$name/index.html in a browser."
