"""Components by name: what a configuration may choose from, plug-ins included.

A registry maps names to targets, "package.module:OBJECT" or "package.module" (the module itself),
which are imported when they are used. Another distribution adds its own through an entry point of
the group `sam2act.plugins`:

    [project.entry-points."sam2act.plugins"]
    mine = "my_package.plugin:register"

`register` takes no argument and calls `add` of one or several registries. Every entry point is
loaded once per process: when a name is looked up that this package does not have, or all names are.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sam2act.core.errors import ConfigError

LOGGER = logging.getLogger(__name__)
PLUGIN_GROUP = "sam2act.plugins"


class Plugins:
    """The entry points of the installed distributions, each loaded once."""

    def __init__(self, group: str = PLUGIN_GROUP) -> None:
        self.loaded: dict[str, str] = {}  # name -> its distribution and version
        self.failed: dict[str, str] = {}  # name -> why it cannot be used, and the remedy
        self._group = group
        self._started = False

    def load(self) -> None:
        """Let all plug-ins register their components; one that fails is reported and left out."""
        if self._started:  # also while a plug-in is being loaded
            return
        self._started = True
        for entry_point in entry_points(group=self._group):
            try:
                register = entry_point.load()
                if callable(register):
                    register()
                owner = entry_point.dist
                self.loaded[entry_point.name] = f"{owner.name} {owner.version}" if owner else ""
            except Exception as error:  # a plug-in may raise anything
                self.failed[entry_point.name] = _problem(entry_point, error)
                LOGGER.warning("%s", self.failed[entry_point.name])


PLUGINS = Plugins()


class Registry:
    """Names and targets of one kind of component."""

    def __init__(self, kind: str, targets: Mapping[str, str], plugins: Plugins = PLUGINS) -> None:
        """Take the components of this package.

        Args:
            kind: what messages call the choice, for example the config key.
            targets: name -> "module:OBJECT", in the order in which they are listed.
            plugins: who may add others.
        """
        self.kind = kind
        self._targets = dict(targets)
        self._plugins = plugins

    def names(self) -> tuple[str, ...]:
        """All names, those of plug-ins last."""
        self._plugins.load()
        return tuple(self._targets)

    def add(self, name: str, target: str) -> None:
        """Register `target` ("module:OBJECT") as `name`.

        Raises:
            ConfigError: the name stands for something else already.
        """
        if self._targets.get(name, target) != target:
            raise ConfigError(
                f"{self.kind}: {name!r} is taken by {self._targets[name]}; choose another name"
            )
        self._targets[name] = target

    @contextlib.contextmanager
    def temporarily(self, **targets: str) -> Iterator[None]:
        """Register name=target inside a `with` block; whatever is added in it is forgotten after.

        Raises:
            ConfigError: a name stands for something else already.
        """
        before = dict(self._targets)
        try:
            for name, target in targets.items():
                self.add(name, target)
            yield
        finally:
            self._targets = before

    def check(self, name: str) -> None:
        """Make sure that there is a component called `name`; nothing of it is imported.

        Raises:
            ConfigError: there is none; the message lists the known names and the nearest one.
        """
        if name in self._targets or name in self.names():
            return
        message = f"{self.kind}: {name!r} is not one of {', '.join(self._targets)}"
        near = difflib.get_close_matches(str(name), self._targets, n=1)
        message += f"; did you mean {near[0]}?" if near else ""
        raise ConfigError("; ".join([message, *self._plugins.failed.values()]))

    def target(self, name: str) -> str:
        """The target of `name`; nothing is imported.

        Raises:
            ConfigError: there is none of that name.
        """
        self.check(name)
        return self._targets[name]

    def get(self, name: str) -> Any:
        """The component called `name`, imported now.

        Raises:
            ConfigError: there is none of that name.
            ImportError: its module cannot be imported.
        """
        self.check(name)
        return pkgutil.resolve_name(self._targets[name])


def _problem(entry_point: EntryPoint, error: Exception) -> str:
    owner = entry_point.dist.name if entry_point.dist else "an unknown distribution"
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f"plug-in {entry_point.name} ({entry_point.value}) of {owner} cannot be loaded: {cause}; "
        "repair or uninstall it"
    )


DEFAULT_POLICY = "sam2act"  # of configurations and results that name none
POLICIES = Registry(
    "policy",
    {
        "sam2act": "sam2act.policies.sam2act.policy:SAM2ActPolicy",
        "rvt": "sam2act.policies.rvt.policy:RVTPolicy",
        "rvt2": "sam2act.policies.rvt2.policy:RVT2Policy",
        "cogact": "sam2act.policies.cogact.policy:CogACTPolicy",
        "sam_e": "sam2act.policies.sam_e.policy:SamEPolicy",
        "state_diffusion": "sam2act.policies.state_diffusion.policy:StateDiffusionPolicy",
        "uva": "sam2act.policies.uva.policy:UVAPolicy",
        "drq_v2": "sam2act.policies.drq_v2.policy:DrQv2Policy",
    },
)
ENCODERS = Registry(
    "language.encoder",
    {
        "clip": "sam2act.language.text_encoder:build_clip_encoder",
        "clip_pooled": "sam2act.language.pooled:build_pooled_encoder",
        "hashed": "sam2act.language.text_encoder:build_hashed_encoder",
        "minilm": "sam2act.language.minilm:build_minilm_encoder",
        "prismatic": "sam2act.policies.cogact.prismatic_backbone:build_prompt_encoder",
    },
)
IMAGE_ENCODERS = Registry(
    "encoder",
    {
        "sam2": "sam2act.nn.image_encoder:SAM2",
        "sam_vit_b": "sam2act.nn.encoders.kinds:SAM_VIT_B",
        "dinov2": "sam2act.nn.encoders.kinds:DINOV2",
        "depth_anything_v2": "sam2act.nn.encoders.kinds:DEPTH_ANYTHING_V2",
        "efficientnet_lite": "sam2act.nn.encoders.kinds:EFFICIENTNET_LITE",
        "tiny_conv": "sam2act.nn.image_encoder:TINY_CONV",
        "none": "sam2act.nn.image_encoder:NONE",
    },
)
SOURCES = Registry(
    "source",
    {
        "rlbench": "sam2act.data.rlbench.source:RLBenchSource",
        "peract_replay": "sam2act.data.peract_replay.source:ReplaySource",
        "lerobot": "sam2act.data.lerobot.reader:LeRobotSource",
        "zarr": "sam2act.data.zarr.replay_buffer:ReplayBufferSource",
        "rlds": "sam2act.data.rlds.source:RLDSSource",
        "libero": "sam2act.data.hdf5.libero:LiberoSource",
        "robomimic": "sam2act.data.hdf5.robomimic:RobomimicSource",
        "umi": "sam2act.data.umi.source:UmiSource",
    },
)
RENDERERS = Registry(
    "renderer.backend",
    {
        "torch": "sam2act.rendering.splat_torch",
        "c": "sam2act.rendering.splat_c",
        "triton": "sam2act.rendering.splat_triton",
        "soft": "sam2act.rendering.splat_soft",
        "pytorch3d": "sam2act.rendering.splat_pytorch3d",
    },
)
ENVS = Registry(
    "backend",
    {
        "embedded": "sam2act.envs.embedded.backend",
        "rlbench": "sam2act.envs.rlbench.backend",
        "gymnasium": "sam2act.envs.gymnasium.backend",
        "pusht": "sam2act.envs.pusht.backend",
        "dmc": "sam2act.envs.dmc.backend",
        "adroit": "sam2act.envs.adroit.backend",
    },
)
EXECUTORS = Registry(
    "executor",
    {
        "single": "sam2act.policies.executors:SingleExecutor",
        "open_loop": "sam2act.policies.executors:OpenLoopExecutor",
        "adaptive_ensemble": "sam2act.policies.ensembles:AdaptiveEnsembleExecutor",
        "moving_average": "sam2act.policies.ensembles:MovingAverageExecutor",
    },
)
TRANSFORMS = Registry(
    "transforms",
    {
        "resize": "sam2act.processing.images:Resize",
        "crop": "sam2act.processing.images:Crop",
        "augment_clip": "sam2act.processing.clip_augmentation:AugmentClip",
        "resized_crop": "sam2act.processing.images:ResizedCrop",
        "flip_rows": "sam2act.processing.camera_mounts:FlipRows",
        "mask_mirror": "sam2act.processing.camera_mounts:MaskMirror",
        "jitter_colours": "sam2act.processing.colours:JitterColours",
        "normalise_actions": "sam2act.processing.statistics:NormaliseActions",
        "normalise_state": "sam2act.processing.statistics:NormaliseState",
        "relative_poses": "sam2act.processing.relative_poses:RelativePoses",
        "smooth_actions": "sam2act.processing.smoothing:SmoothActions",
        "sam_g": "sam2act.processing.sam_g.transform:SamG",
    },
)
DENSE_FEATURES = Registry(
    "features",
    {
        "dinov2": "sam2act.nn.dense_features:build_dinov2",
        "sam2": "sam2act.nn.dense_features:build_sam2",
        "efficientnet_lite": "sam2act.nn.dense_features:build_efficientnet_lite",
        "efficientvit_sam": "sam2act.processing.sam_g.predictors:build_efficientvit_features",
        "color": "sam2act.processing.sam_g.components:build_color",
    },
)
SEGMENTERS = Registry(
    "segmenter",
    {
        "sam2": "sam2act.processing.sam_g.predictors:build_sam2",
        "efficientvit_sam": "sam2act.processing.sam_g.predictors:build_efficientvit_sam",
        "random_walk": "sam2act.processing.sam_g.components:build_random_walk",
        "grabcut": "sam2act.processing.sam_g.grabcut:build_grabcut",
        "simulator": "sam2act.processing.sam_g.components:build_simulator",
    },
)
