"""A small checkpoint of the released form with random weights, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sam2act.nn.diffusion.dit import DiTConfig
from sam2act.policies.cogact.dataset_statistics import fit_statistics
from sam2act.policies.cogact.prismatic import PrismaticConfig, PrismaticVLM, PromptTokens
from sam2act.policies.cogact.released_files import save_vla
from sam2act.policies.cogact.vla import CogACT

WORDS = "In : What action should the robot take to pick up cup ? Out"
TEXT, OTHER = "Pick up the cup", "take the cup up to the robot"
SIZES: dict[str, int] = {
    "vlm_image_side": 56,
    **{f"{name}_width": 32 for name in ("dino", "siglip")},
    **{f"{name}_depth": 2 for name in ("dino", "siglip", "llm")},
    **{f"{name}_heads": 2 for name in ("dino", "siglip", "llm")},
    **{f"{name}_hidden": 64 for name in ("dino", "siglip", "llm")},
    "llm_width": 64,
}


def write_tokenizer(path: Path) -> None:
    """A tokenizer of a few words; it needs tokenizers."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: 5 + number for number, word in enumerate(WORDS.split())} | {"<unk>": 0}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def write_release(folder: Path) -> Path:
    """Writes `tokenizer.json` and a run folder into `folder`; the checkpoint."""
    write_tokenizer(folder / "tokenizer.json")
    sizes = PrismaticConfig(**SIZES, tokenizer=str(folder / "tokenizer.json"))  # type: ignore[arg-type]
    torch.manual_seed(0)
    actions = np.random.default_rng(0).normal(size=(50, 7))
    statistics = {"bridge_orig": fit_statistics(actions, [True] * 6 + [False], 1)}
    head = DiTConfig(action_model_type="custom", condition_dim=sizes.llm_width)
    model = CogACT(PrismaticVLM(sizes), head, statistics, PromptTokens(sizes))
    torch.nn.init.normal_(model.action_model.final_layer.linear.weight)
    path = folder / "checkpoints" / "step-000010-epoch-01-loss=0.1.pt"
    save_vla(model, path)
    return path
