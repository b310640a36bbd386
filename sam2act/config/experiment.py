"""Every key of the experiment, its published default and its validity rules.

Policies, data, training and evaluation read this one published file, so its sections stand together
here; the keys of networks stand beside their components. Key names are the published ones wherever
a user would type them; keys that this project adds are marked "added". What an option does beyond
its comment is explained in docs/quirks.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sam2act.config.component import NameList, WeightsFile
from sam2act.core.described import check_descriptions
from sam2act.core.errors import require, require_choice
from sam2act.core.mixtures import read_mixture
from sam2act.core.registry import ENCODERS, SOURCES, TRANSFORMS
from sam2act.core.tasks import POLICY_CAMERAS

GRAPH_MODES = ("reduce-overhead", "max-autotune")  # those that use CUDA graphs
COMPILE_MODES = ("", "default", *GRAPH_MODES)  # "" = off


# ---------------------------------------------------------------------------- experiment config
@dataclass(frozen=True)
class PeractConfig:
    """Optimisation and labels (`peract.*`)."""

    lambda_weight_l2: float = 1e-6  # weight decay
    lr: float = 2.5e-5  # per sample: multiplied by bs * world_size * grad_accumulation
    optimizer_type: str = "lamb"  # lamb | adam | adamw
    bnb: bool = False  # with lamb: True = clipped-update variant, False = classic LAMB
    zero_norm_escape: bool = False  # added: lets tensors of norm 0 move under lamb + bnb
    betas: tuple[float, ...] = (0.9, 0.999)  # added
    warmup_steps: int = 0
    lr_cos_dec: bool = False
    add_rgc_loss: bool = True  # rotation, gripper and collision losses
    num_rotation_classes: int = 72
    amp: bool = False
    amp_dtype: str = "float16"  # added: float16 | bfloat16 | auto (what the device does best)
    grad_accumulation: int = 1  # added: micro-batches per update
    grad_clip: float = 0.0  # added: maximum gradient norm, 0 = off
    ema: float = 0.0  # added: decay of the averaged weights, 0 = off
    ema_power: float = 0.0  # added: the decay grows as 1 - (1 + update)^-power, 0 = it is fixed
    # Added: fsdp = weights, gradients and moments are split over the processes of torchrun.
    sharding: str = ""
    transform_augmentation: bool = True
    transform_augmentation_xyz: tuple[float, ...] = (0.1, 0.1, 0.1)  # fraction of the bounds
    transform_augmentation_rpy: tuple[float, ...] = (0.0, 0.0, 20.0)  # degrees
    same_trans_aug_per_seq: bool = False
    color_jitter: float = 0.0  # added: strength of torchvision's ColorJitter on camera images
    collision_label: str = "current_obs"  # added: current_obs | next_keypoint
    window_sampling: str = "published"  # added: published | all_windows
    sequence_augmentation: str = "independent"  # added: independent | shared_draws | rigid
    skip_dead_lora: bool = False  # added: stage 1, no work on adapters that cannot move
    compile: str = ""  # added: torch.compile mode, see COMPILE_MODES
    upsampler_lr_scale: float = 1.0  # added: stage 2, factor on the rate of the coarse upsampler
    cache_frozen_features: bool = False  # added: stage 2, compute frozen features once

    def __post_init__(self) -> None:
        require_choice("peract.optimizer_type", self.optimizer_type, ("lamb", "adam", "adamw"))
        require_choice("peract.amp_dtype", self.amp_dtype, ("float16", "bfloat16", "auto"))
        require_choice(
            "peract.collision_label", self.collision_label, ("current_obs", "next_keypoint")
        )
        require_choice("peract.window_sampling", self.window_sampling, ("published", "all_windows"))
        require_choice(
            "peract.sequence_augmentation",
            self.sequence_augmentation,
            ("independent", "shared_draws", "rigid"),
        )
        require(
            self.sequence_augmentation != "rigid" or not self.same_trans_aug_per_seq,
            "peract.same_trans_aug_per_seq: True means sequence_augmentation: shared_draws; it "
            "contradicts rigid",
        )
        require(
            not (self.cache_frozen_features and self.transform_augmentation),
            "peract.cache_frozen_features: True needs peract.transform_augmentation: False, since "
            "augmented frames differ every time",
        )
        require(
            not self.skip_dead_lora or self._adapters_never_move,
            "peract.skip_dead_lora: True needs an optimiser under which adapters that start at "
            "zero never move, the published one: optimizer_type lamb, bnb True, "
            "zero_norm_escape False, grad_clip 0",
        )
        require_choice("peract.compile", self.compile, COMPILE_MODES)
        self._check_sharding()
        require(self.lr > 0, "peract.lr must be positive")
        for key in ("warmup_steps", "lambda_weight_l2", "upsampler_lr_scale"):
            require(getattr(self, key) >= 0, f"peract.{key} must not be negative")
        require(self.grad_clip >= 0, "peract.grad_clip must be 0 (off) or positive")
        require(self.color_jitter >= 0, "peract.color_jitter must be 0 (off) or positive")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "peract.betas needs two values in [0, 1)",
        )
        require(self.grad_accumulation >= 1, "peract.grad_accumulation must be at least 1")
        require(0 <= self.ema < 1, "peract.ema must be in [0, 1)")
        require(self.ema_power >= 0, "peract.ema_power must be 0 (off) or positive")
        require(
            self.num_rotation_classes >= 1 and 360 % self.num_rotation_classes == 0,
            "peract.num_rotation_classes must divide 360 degrees evenly (published: 72)",
        )
        for key in ("transform_augmentation_xyz", "transform_augmentation_rpy"):
            require(len(getattr(self, key)) == 3, f"peract.{key} needs three values")

    def _check_sharding(self) -> None:
        require_choice("peract.sharding", self.sharding, ("", "fsdp"))
        if not self.sharding:
            return
        require(
            self.optimizer_type != "lamb",
            "peract.sharding: fsdp splits tensors, whose norms LAMB needs as a whole; set "
            "peract.optimizer_type to adamw or adam",
        )
        require(
            not (self.amp and self.amp_dtype != "bfloat16"),
            "peract.sharding: fsdp scales no losses; set peract.amp_dtype to bfloat16",
        )
        require(not self.compile, "peract.sharding: fsdp compiles nothing; leave out compile")

    @property
    def _adapters_never_move(self) -> bool:
        """Whether a tensor of norm 0 stays there and its gradient influences no other.

        One influence is left: loss scaling (float16) skips an update if any gradient overflows,
        and gradients that are not computed do not.
        """
        clipped_lamb = self.optimizer_type == "lamb" and self.bnb
        return clipped_lamb and not self.zero_norm_escape and self.grad_clip == 0


@dataclass(frozen=True)
class RvtConfig:
    """Input normalisation and heat-map targets (`rvt.*`)."""

    gt_hm_sigma: float = 1.5  # pixels
    img_aug: float = 0.1  # noise on the rendered images, training only
    point_color_noise: float = 0.0  # added: the working form of the released no-op img_aug_2
    place_with_mean: bool = True  # centre the cloud by its own extent instead of the bounds
    move_pc_in_bound: bool = True  # drop points outside the bounds

    def __post_init__(self) -> None:
        require(self.gt_hm_sigma > 0, "rvt.gt_hm_sigma must be positive (published: 1.5 pixels)")
        for key in ("img_aug", "point_color_noise"):
            require(getattr(self, key) >= 0, f"rvt.{key} must be 0 (off) or positive")


@dataclass(frozen=True)
class LanguageConfig:
    """Instruction encoder (`language.*`, added)."""

    encoder: str = "clip"  # clip | clip_pooled | hashed | minilm | name of a plug-in's
    weights_path: WeightsFile = ""  # empty = RN50.pt of CLIP, or MiniLM's package
    cache: str = ""  # safetensors file; empty = <store_folder>/language_<encoder>.safetensors
    wordings: int = 1  # added: demo n is told its instruction n mod this; 1 = always the first

    def __post_init__(self) -> None:
        ENCODERS.check(self.encoder)
        require(self.wordings >= 1, "language.wordings must be at least 1, the first instruction")


@dataclass(frozen=True)
class ValidationConfig:
    """Held-out demos whose loss selects the best checkpoint (`validation.*`, added)."""

    split: str = "val"
    demo: int = 0  # demos per task; 0 = no validation
    demo_start: int = 0
    every: int = 1  # epochs between two validations

    def __post_init__(self) -> None:
        require(self.demo >= 0, "validation.demo must be 0 (off) or positive")
        require(self.every >= 1, "validation.every must be at least 1")


@dataclass(frozen=True)
class EvalConfig:
    """Acting (`eval.*`, added)."""

    force_ignore_collisions: bool | None = None  # None = as predicted
    # What the cube is placed by when acting, as `rvt.place_with_mean`: auto (as published: True for
    # networks of one stage, trained for those with a zoom) | trained | True | False
    place_with_mean: str = "auto"
    precision: str = "float32"  # float32 | bfloat16 | float16: of the network, under autocast
    compile: str = ""  # torch.compile mode, see COMPILE_MODES

    def __post_init__(self) -> None:
        places = ("auto", "trained", "True", "False")
        require_choice("eval.place_with_mean", self.place_with_mean, places)
        require_choice("eval.precision", self.precision, ("float32", "bfloat16", "float16"))
        require_choice("eval.compile", self.compile, COMPILE_MODES)


@dataclass(frozen=True)
class PeractOfficialConfig:
    """Kept so that released yaml files load; belongs to a baseline that is not part of this."""

    cfg_path: str = "configs/peract_official_config.yaml"


@dataclass(frozen=True)
class ExperimentConfig:
    """One training run: tasks, data, optimisation (`--exp_cfg_path`, `--exp_cfg_opts`)."""

    agent: str = "our"  # released key, unused
    tasks: NameList = "insert_onto_square_peg,open_drawer,place_wine_at_rack_location,light_bulb_in"
    exp_id: str = "def"
    exp_name: str = "test"
    resume: str = ""
    bs: int = 4  # samples per process and micro-batch
    epochs: int = 20
    num_workers: int = 0
    sample_distribution_mode: str = "transition_uniform"
    train_iter: int = 160000  # samples per epoch
    demo: int = 100  # demos per task
    demo_start: int = 0  # added: first episode number
    wandb: bool = False
    seed: int = 0  # added
    log_every: int = 100  # added: updates between two rows of the log
    # Data set, all added. Empty folders take the default of the task set.
    source: str = "rlbench"  # kind of data: rlbench | peract_replay | zarr | a plug-in's
    # Instead of `tasks`: a mixture by name, or `data set:weight, data set:weight`.
    data_mix: str = ""
    data_folder: str = ""
    store_folder: str = ""
    replay_folder: str = ""  # released replay pickles; none = never look for any
    cameras: tuple[str, ...] = POLICY_CAMERAS
    image_size: int = 128
    assume_ignore_collisions: bool | None = None  # label of demos that do not record the flag
    scene_bounds: tuple[float, ...] = (-0.3, -0.5, 0.6, 0.7, 0.5, 1.6)  # metres, world frame
    gripper_threshold: float | None = None  # recorded states above it are open; None = 0 or 1
    transforms: tuple[str, ...] = ()  # between data and policy: resize(96), crop(84), ...
    peract: PeractConfig = field(default_factory=PeractConfig)
    rvt: RvtConfig = field(default_factory=RvtConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    peract_official: PeractOfficialConfig = field(default_factory=PeractOfficialConfig)

    def __post_init__(self) -> None:
        require_choice(
            "sample_distribution_mode",
            self.sample_distribution_mode,
            ("transition_uniform", "task_uniform", "keyframe_uniform", "demo_uniform_temporal"),
        )
        for key in ("bs", "epochs", "train_iter", "demo", "log_every", "image_size"):
            require(getattr(self, key) >= 1, f"{key} must be at least 1")
        for key in ("num_workers", "demo_start", "seed"):
            require(getattr(self, key) >= 0, f"{key} must not be negative")
        SOURCES.check(self.source)
        if self.data_mix:
            read_mixture(self.data_mix)
        assumed = self.assume_ignore_collisions
        require_choice("assume_ignore_collisions", assumed, (None, True, False))
        require(len(self.cameras) >= 1, "cameras needs at least one camera name")
        require(len(set(self.cameras)) == len(self.cameras), "cameras: a name appears twice")
        check_descriptions(TRANSFORMS, self.transforms, example="resize(96)")
        require(
            not (self.peract.sharding and self.validation.demo),
            "validation.demo: processes get different numbers of held-out samples, which "
            "peract.sharding: fsdp cannot have; set it to 0",
        )
        bounds = self.scene_bounds
        require(
            len(bounds) == 6 and all(bounds[i] < bounds[i + 3] for i in range(3)),
            "scene_bounds needs six values x_min,y_min,z_min,x_max,y_max,z_max with min < max",
        )
