"""The device that `--device` means, the same in every command."""

from __future__ import annotations

import logging

import torch

from sam2act.core.errors import ConfigError

LOGGER = logging.getLogger(__name__)
AUTOMATIC = ("", "auto")


def choose_device(flag: str, local_rank: int = 0, processes: int = 1) -> torch.device:
    """The device a user means.

    Args:
        flag: "cpu", "cuda" (the GPU of this process), "cuda:N", or "auto" or nothing: a GPU if
            there is one, else the CPU. A bare number N is GPU N where there are GPUs and else
            means auto, with a line of log. Several processes share the GPUs out among themselves
            whatever the number; so does a list such as "0,1", the published form.
        local_rank: number of this process on its machine.
        processes: of the whole run.

    Raises:
        ConfigError: not a device of this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = flag
    if flag and flag.replace(",", "").isdecimal():
        if not count and local_rank == 0:
            LOGGER.info("--device %s: this machine has no usable GPU, the CPU computes", flag)
        one = count and processes == 1 and "," not in flag
        wanted = f"cuda:{int(flag)}" if one else ""
    if wanted in AUTOMATIC and not count:
        return torch.device("cpu")
    if wanted in (*AUTOMATIC, "cuda") and count:
        return torch.device("cuda", local_rank % count)
    try:
        chosen = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(
            f"--device {flag}: not a device; use cpu, cuda, cuda:N, the number of a GPU or auto"
        ) from error
    if chosen.type == "cuda" and (chosen.index or 0) not in range(count):
        raise ConfigError(
            f"--device {flag}: this machine has {count} usable GPUs; "
            "`sam2act doctor` says why; use --device cpu"
        )
    return chosen
