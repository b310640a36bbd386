"""Stands in for the released code where it reads a run folder, as strictly as that code does.

Configurations are merged by yacs into the released keys, defaults and types. The checkpoint goes
into a network with every released tensor, an optimiser with one group over all its parameters
(frozen ones too) that keeps moments as the LAMB of bitsandbytes does, and a warm-up scheduler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

SAM2_COPIES = ("mvt1.sam2.", "mvt2.sam2.")


def experiment_defaults() -> CfgNode:
    """The released experiment config before any yaml file."""
    return CfgNode(
        {
            "agent": "our",
            "tasks": "insert_onto_square_peg,open_drawer,place_wine_at_rack_location,light_bulb_in",
            "exp_id": "def",
            "exp_name": "test",
            "resume": "",
            "bs": 4,
            "epochs": 20,
            "num_workers": 0,
            "sample_distribution_mode": "transition_uniform",
            "train_iter": 160000,
            "demo": 100,
            "wandb": False,
            "peract": {
                "lambda_weight_l2": 1e-6,
                "lr": 2.5e-5,
                "optimizer_type": "lamb",
                "warmup_steps": 0,
                "lr_cos_dec": False,
                "add_rgc_loss": True,
                "num_rotation_classes": 72,
                "amp": False,
                "bnb": False,
                "transform_augmentation": True,
                "transform_augmentation_xyz": [0.1, 0.1, 0.1],
                "transform_augmentation_rpy": [0.0, 0.0, 20.0],
                "same_trans_aug_per_seq": False,
            },
            "rvt": {
                "gt_hm_sigma": 1.5,
                "img_aug": 0.1,
                "place_with_mean": True,
                "move_pc_in_bound": True,
            },
            "peract_official": {"cfg_path": "configs/peract_official_config.yaml"},
        }
    )


def network_defaults() -> CfgNode:
    """The released network config before any yaml file."""
    numbers = {"depth": 8, "img_size": 220, "img_patch_size": 11, "proprio_dim": 4, "lang_dim": 512}
    numbers |= {"lang_len": 77, "img_feat_dim": 3, "feat_dim": 220, "im_channels": 64}
    numbers |= {"attn_dim": 512, "attn_heads": 8, "attn_dim_head": 64, "final_dim": 64}
    numbers |= {"self_cross_ver": 1, "feat_ver": 0, "rot_ver": 0, "num_rot": 72, "st_sca": 4}
    numbers |= {"lora_r": 16, "num_maskmem": 7}
    reals = {"attn_dropout": 0.1, "decoder_dropout": 0.0, "wpt_img_aug": 0.01}
    reals |= {"st_wpt_loc_aug": 0.05, "img_aug_2": 0.0}
    on = ("add_proprio", "add_lang", "add_corr", "add_pixel_loc", "add_depth", "pe_fix")
    on += ("inp_pre_pro", "inp_pre_con", "ifSAM2", "lora_finetune", "resize_rgb")
    off = ("weight_tie_layers", "norm_corr", "rend_three_views", "use_point_renderer", "cvx_up")
    off += ("xops", "stage_two", "st_wpt_loc_inp_no_noise", "ifsep", "use_memory")
    words = {"activation": "lrelu", "sam2_config": "configs/sam2.1/sam2.1_hiera_b+.yaml"}
    words |= {"sam2_ckpt": "sam2.1_hiera_base_plus.pt"}
    switches = dict.fromkeys(on, True) | dict.fromkeys(off, False)
    return CfgNode(numbers | reals | switches | words)


def read_configs(folder: Path, suffix: str = "") -> tuple[CfgNode, CfgNode]:
    """Both configs of a run folder; unknown keys and other types are errors of yacs."""
    experiment, network = experiment_defaults(), network_defaults()
    experiment.merge_from_file(str(folder / f"exp_cfg{suffix}.yaml"))
    network.merge_from_file(str(folder / f"mvt_cfg{suffix}.yaml"))
    return experiment, network


class ReleasedNetwork(nn.Module):
    """Every tensor of the released network, registered in the given order; copies are shared."""

    def __init__(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in parameters.items():
            self._place(name, nn.Parameter(torch.zeros_like(value)))
        for name, value in buffers.items():
            self._place(name, torch.zeros_like(value))
        for branch in ("mvt1", "mvt2"):
            self.get_submodule(branch).add_module("sam2", self.get_submodule("sam2"))

    def _place(self, name: str, value: Tensor) -> None:
        *path, leaf = name.split(".")
        module: nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        if isinstance(value, nn.Parameter):
            module.register_parameter(leaf, value)
        else:
            module.register_buffer(leaf, value)


def released_network(state: dict[str, Tensor], parameters: list[str]) -> ReleasedNetwork:
    """A fresh released network with the tensors of `state`; `parameters` are in its order."""
    copies = [n for n in state if n.startswith(SAM2_COPIES)]
    buffers = {n: state[n] for n in state if n not in {*parameters, *copies}}
    network = ReleasedNetwork({name: state[name] for name in parameters}, buffers)
    assert [name for name, _ in network.named_parameters()] == parameters
    return network


class ReleasedLamb(torch.optim.Optimizer):
    """The clipped LAMB of the released runs, with the state of bitsandbytes' 32-bit kernel."""

    def __init__(self, parameters: Any) -> None:
        defaults = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-4}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of every parameter that has a gradient; a missing entry is a KeyError."""
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                state = self.state[parameter]
                if not state:
                    state |= {"step": 0, "unorm_vec": torch.zeros(1)}
                    state |= {key: torch.zeros_like(parameter) for key in ("state1", "state2")}
                self._update(parameter, state, group)

    @staticmethod
    def _update(parameter: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        state["step"] += 1
        state["unorm_vec"].zero_()
        one, two = group["betas"]
        state["state1"].mul_(one).add_(parameter.grad, alpha=1 - one)
        state["state2"].mul_(two).addcmul_(parameter.grad, parameter.grad, value=1 - two)
        root = (state["state2"] / (1 - two ** state["step"])).sqrt() + group["eps"]
        update = state["state1"] / (1 - one ** state["step"]) / root
        scale = min(1.0, float(parameter.norm() / update.norm()))
        parameter.sub_(group["lr"] * scale * update)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])


class ReleasedSchedule:
    """The warm-up scheduler: loading overwrites its attributes; groups keep their rates."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, cosine: bool) -> None:
        self.optimizer, self.last_epoch, self.total_epoch = optimizer, 0, 0
        self.after = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10) if cosine else None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As the released one: the inner scheduler has an entry of its own."""
        state = dict(state)
        if self.after is not None:
            self.after.load_state_dict(state.pop("after_scheduler_state_dict"))
        self.__dict__.update(state)


def load_agent(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, schedule: ReleasedSchedule
) -> int:
    """What the released loader does with a checkpoint; the epoch. Mismatches are errors here."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(checkpoint["model_state"])
    if "optimizer_state" in checkpoint:
        optimizer.load_state_dict(checkpoint["optimizer_state"])
    if "lr_sched_state" in checkpoint:
        schedule.load_state_dict(checkpoint["lr_sched_state"])
    return checkpoint["epoch"]
