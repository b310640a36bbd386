#!/usr/bin/env bash
# Makes a virtual environment with LeRobot, this checkout and its two plug-ins; see docs/lerobot.md.
#
#   bash scripts/make_lerobot_env.sh [FOLDER]     (default: .venv_lerobot; 2 GB, a CPU build of torch)
#
# LeRobot is installed without its dependencies, because it asks for a torch older than the one that
# this project is tested with; of the others those that its evaluation, training and data sets need
# follow. PYTHON names the interpreter (default: python3; LeRobot 0.4.4 takes 3.10 and newer).
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh # fail, python

LEROBOT=0.4.4 TORCHVISION=0.28.0
case "${1:-}" in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "scripts/$(basename "$0")" && exit 0 ;;
    -*) fail "unknown argument $1; name a folder" ;;
esac
folder="$(cd "$caller" && realpath -m "${1:-$PWD/.venv_lerobot}")"
command -v "$python" >/dev/null 2>&1 || fail "no $python; set PYTHON"
if [ -e "$folder" ] && [ ! -e "$folder/lerobot_env.done" ] && [ ! -e "$folder/lerobot_env.begun" ]; then
    fail "$folder exists and was not made by this script; name another folder"
fi

if [ ! -e "$folder/lerobot_env.done" ]; then
    "$python" -m venv "$folder"
    touch "$folder/lerobot_env.begun"
fi
pip() { "$folder/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --no-compile -r /dev/stdin -c requirements/constraints-cpu.txt <<'LIST'
torch
datasets>=4,<5
diffusers>=0.27.2,<0.36
huggingface-hub>=0.34.2,<0.36
accelerate>=1.10,<2
opencv-python-headless>=4.9,<4.13
av>=15,<16
jsonlines>=4,<5
packaging>=24.2,<26
draccus==0.10.0
gymnasium>=1.1.1,<2
deepdiff>=7.0.1,<9
imageio[ffmpeg]>=2.34,<3
termcolor>=2.4,<4
pyserial
pytest
pynput
wandb
setuptools
wheel
LIST
pip install --no-compile --no-deps "lerobot==$LEROBOT" "torchvision==$TORCHVISION"

# A torchvision built for CUDA beside a torch for CPUs lacks two operators when it is imported.
site="$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
cat >"$site/torchvision_operators.py" <<'PY'
"""Declares the operators that torchvision expects, when it is first imported."""

import sys


class Declare:
    """Stands before the ordinary finders until torchvision is imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            from torch import library as registration

            operators = registration.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                operators.define(
                    operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
            KEPT.append(operators)
        return None


KEPT = []
sys.meta_path.insert(0, Declare())
PY
rm -f "$site/torchvision_operators.pth"
"$folder/bin/python" -c 'import torchvision' 2>/dev/null ||
    echo 'import torchvision_operators' >"$site/torchvision_operators.pth"

pip install --no-compile --no-build-isolation -e ".[sim,gym]" -c requirements/constraints-cpu.txt
pip install --no-compile --no-build-isolation --no-deps \
    -e plugins/lerobot_env_sam2act -e plugins/lerobot_policy_sam2act
touch "$folder/lerobot_env.done"
"$folder/bin/python" - <<'PY'
from importlib.metadata import version

import lerobot_env_sam2act, lerobot_policy_sam2act  # noqa: E401,F401

names = ("lerobot", "torch", "gymnasium", "sam2act")
print(", ".join(f"{name} {version(name)}" for name in names))
PY
echo "made: $folder; lerobot-eval lies in $folder/bin"
