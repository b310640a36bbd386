# RLBench on CoppeliaSim 4.1 with a virtual display. Not built by this project: docs/rlbench.md.
#
#   docker build -f containers/rlbench.Dockerfile -t sam2act-rlbench \
#       --build-arg COPPELIASIM_ARCHIVE=CoppeliaSim_Edu_V4_1_0_Ubuntu20_04.tar.xz .
#   docker run --rm --gpus all -v "$PWD/data:/sam2act/data" -v "$PWD/runs:/sam2act/runs" sam2act-rlbench \
#       python sam2act/eval.py --headless --backend rlbench ...
#
# The archive lies in the build folder (mind its licence). Repositories, folders in them and commits of
# PyRep, RLBench and YARR are build arguments too; without them the newest commit of SAM2Act's forks is
# taken.
FROM ubuntu:22.04

ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates gcc git libc6-dev python-is-python3 python3 python3-dev python3-pip python3-venv \
        tar xz-utils xvfb xauth \
        libdbus-1-3 libegl1 libfontconfig1 libgl1 libgl1-mesa-dri libglib2.0-0 libglu1-mesa libsm6 \
        libx11-xcb1 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-xinerama0 \
        libxext6 libxkbcommon-x11-0 libxrender1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /sam2act
COPY . /sam2act
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir -e ".[clip,sim]"
ENV PATH=/opt/venv/bin:$PATH

ARG COPPELIASIM_ARCHIVE
ARG COPPELIASIM_SHA256
ARG PYREP_REPOSITORY
ARG PYREP_SUBDIRECTORY
ARG PYREP_COMMIT
ARG RLBENCH_REPOSITORY
ARG RLBENCH_SUBDIRECTORY
ARG RLBENCH_COMMIT
ARG YARR_REPOSITORY
ARG YARR_SUBDIRECTORY
ARG YARR_COMMIT
RUN bash scripts/install_rlbench.sh --prefix /opt/rlbench --coppeliasim "$COPPELIASIM_ARCHIVE"

# xcb on a virtual display: Qt's platform "offscreen" gives black images.
ENV COPPELIASIM_ROOT=/opt/rlbench/CoppeliaSim
ENV LD_LIBRARY_PATH=/opt/rlbench/CoppeliaSim
ENV QT_QPA_PLATFORM_PLUGIN_PATH=/opt/rlbench/CoppeliaSim
ENTRYPOINT ["xvfb-run", "-a", "--server-args=-screen 0 1280x1024x24 +extension GLX"]
CMD ["python", "-m", "sam2act.doctor"]
