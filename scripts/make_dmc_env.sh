#!/usr/bin/env bash
# An environment of its own for DeepMind Control: dm_control needs mujoco<4, which cannot stand beside
# the mujoco-core of the embedded simulator.
#
#     bash scripts/make_dmc_env.sh [FOLDER]        default: .venv-dmc
#     FOLDER/bin/sam2act rl-train --task cartpole_swingup
#
# Renders without a display through EGL (apt-get install libegl1 libgles2) or, with
# MUJOCO_GL=osmesa, through OSMesa (apt-get install libosmesa6). Adroit: add gymnasium-robotics.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-dmc}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --upgrade pip
"$folder/bin/pip" install --quiet -e ".[dmc]"
"$folder/bin/python" -c "from dm_control import suite; print('dm_control is ready in $folder')"
