#!/usr/bin/env bash
# From nothing to the memory result: installs, makes demonstrations in the embedded simulator, trains
# SAM2Act and SAM2Act+ with the tiny network, evaluates both in closed loop, and makes a report page.
#
#   bash scripts/quickstart.sh [--quick] [--task TASK] [--seed N] [--output DIR]
#
# Needs python3 (3.10 or newer) with its venv module. Settings: see scripts/environment.sh.
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh

usage() {
    cat <<TEXT
usage: bash scripts/quickstart.sh [--quick] [--task TASK] [--seed N] [--output DIR]

  --quick       a short run: shows that everything works; its figures mean little
  --task TASK   put_block_back (default), rearrange_block or reopen_drawer
  --seed N      of demonstrations, training and evaluation (default: 0)
  --output DIR  where demonstrations, checkpoints and the page go (default: quickstart_output)

Running it again resumes.
TEXT
}

task=put_block_back seed=0 output="$PWD/quickstart_output" output_where="the checkout" quick=
while [ $# -gt 0 ]; do
    case "$1" in
        --task | --seed | --output)
            case "${2:-}" in
                "" | -*) fail "$1 needs a value" ;;
            esac
            case "$1" in
                --task) task="$2" ;;
                --seed) seed="$2" ;;
                --output) output="$(cd "$caller" && realpath -m "$2")" output_where=--output ;;
            esac
            shift
            ;;
        --quick) quick=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && fail "unknown argument $1" ;;
    esac
    shift
done

# Sizes of the run: demonstrations, epochs of 100 updates (stage 1) and of 20 (stage 2), episodes.
demos=100 second_epochs=4 episodes=40 name="$task" minutes="9 to 15" note=
case "$task" in
    put_block_back | rearrange_block) first_epochs=5 ;;
    reopen_drawer) first_epochs=10 minutes="12 to 20" ;;
    *) fail "--task $task: choose put_block_back, rearrange_block or reopen_drawer" ;;
esac
case "$seed" in
    *[!0-9]*) fail "--seed $seed: not a whole number" ;;
esac
if [ -n "$quick" ]; then
    demos=30 first_epochs=1 second_epochs=1 episodes=8 name="quick_$task" minutes="3 to 5"
    note="A quick run: it shows that everything works, its figures mean little."
fi
# Options are passed on as one line, cut at spaces.
case "$output" in
    *[[:space:]]*) fail "the path of $output_where must not contain spaces: $output" ;;
esac

data="$output/data_seed$seed" run="$output/runs/${name}_seed$seed"
common="tasks $task exp_id $name exp_name seed$seed seed $seed demo $demos log_every 5"
common+=" data_folder $data store_folder $output/store_seed$seed"

check_machine
cat <<TEXT
Quick start on $task, $minutes minutes on two CPU cores (longer on a slow network):
  1. installation into $venv:
     $install_cost
  2. $demos demonstrations in the embedded simulator
  3. SAM2Act: stage 1, $((first_epochs * 100)) updates of 16 samples
  4. SAM2Act+: stage 2, $((second_epochs * 20)) updates of 8 whole episodes
  5. $episodes episodes of each in the simulator, scenes that neither has seen
  6. a page with the results
Running it again resumes. Everything is written below $output.
TEXT

# stage NAME COMMAND...: shows and runs a command, and notes how long it took.
stage() {
    local title="$1" start=$SECONDS
    shift
    printf '\n== %s\n   %s\n' "$title" "$*"
    "$@"
    printf '%s\t%d seconds\n' "$title" "$((SECONDS - start))" | tee -a "$output/times.txt"
}

evaluate() {
    "$venv/bin/python" -m sam2act.eval --model-folder "$run" --model-name "$1" --tasks "$task" \
        --backend embedded --seed "$((7000 + seed))" --eval-episodes "$episodes" --save-video 4 \
        --log-name quickstart --resume --device cpu
}

mkdir -p "$output"
stage "Installation" prepare_environment sim
python="$venv/bin/python"
stage "Demonstrations" "$python" scripts/generate_demos.py --tasks "$task" --episodes "$demos" \
    --seed "$seed" --workers 2 --output "$data/train"
stage "Training of SAM2Act (stage 1)" "$python" -m sam2act.train --exp_cfg_path configs/tiny.yaml \
    --mvt_cfg_path configs/mvt/tiny.yaml --log-dir "$output/runs" \
    --exp_cfg_opts "$common epochs $first_epochs"
stage "Training of SAM2Act+ (stage 2)" "$python" -m sam2act.train_plus \
    --exp_cfg_path configs/tiny_plus.yaml --mvt_cfg_path configs/mvt/tiny_plus.yaml \
    --task_cfg_path "configs/tasks/tiny_$task.yaml" --log-dir "$output/runs" \
    --exp_cfg_opts "$common epochs $second_epochs"
stage "Evaluation of SAM2Act" evaluate model_last.pth
stage "Evaluation of SAM2Act+" evaluate model_plus_last.pth
stage "Report" "$python" scripts/report.py "$run" --output "$output/report_${name}_seed$seed.html" \
    --note "$note"
echo "Open $output/report_${name}_seed$seed.html in a browser."
