"""Let a policy act for robots over websockets and HTTP.

    sam2act serve --policy cogact --checkpoint runs/cogact/checkpoints/step-000100.pt \\
        --unnorm_key bridge_orig --action_ensemble --use_bf16
    sam2act serve --checkpoint runs/x/model_last.pth --port 5500

Websockets speak our own dialect at `/sam2act`, that of openpi and RoboMME at `/openpi`, that of
vla-eval at `/vla-eval`, and at `/` the one of `--dialect`. `POST /api/inference` takes a form with
a picture and a JSON file {"task_description": ...} and gives the action as a list of numbers.
`GET /healthz` says whether the server works, `GET /metrics` what it did. The server ends by Ctrl-C
or SIGTERM. A token is read from the environment variable SAM2ACT_TOKEN; clients send it in the
header `Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sam2act.cli.arguments import ArgumentParser, add_device, positive_number, with_flags
from sam2act.cli.status import DONE, run_command
from sam2act.core.errors import ConfigError
from sam2act.core.registry import POLICIES
from sam2act.core.types import Session
from sam2act.policies.checkpoint import load_policy
from sam2act.policies.safety import CLIP, REFUSE, SafeSession, SafetyLimits
from sam2act.policies.session import PolicySession, trained_encoder
from sam2act.runtime.devices import choose_device
from sam2act.serving.limits import MEBIBYTE, Limits
from sam2act.serving.requirements import require_packages
from sam2act.training.run_log import configure_console

if TYPE_CHECKING:
    from sam2act.serving.app import Settings

TOKEN_VARIABLE = "SAM2ACT_TOKEN"
LOOPBACKS = ("127.0.0.1", "localhost", "::1")
DEFAULTS = Limits()
FLAGS = {  # what messages of the limits call a setting -> its flag
    "batch_size": "--max-batch",
    "batch_seconds": "--batch-milliseconds",
    "idle_seconds": "--idle-seconds",
    "box": "--safety-box",
    "step": "--safety-step",
    "turn": "--safety-turn",
}


def build_parser() -> argparse.ArgumentParser:
    """The published flags of CogACT's service, and ours."""
    parser = ArgumentParser(description=__doc__)
    _add_policy_flags(parser.add_argument_group("who acts"))
    _add_server_flags(parser.add_argument_group("the server"))
    _add_safety_flags(parser.add_argument_group("limits of targets, for poses of the gripper"))
    _add_cogact_flags(parser.add_argument_group("released CogACT models"))
    return parser


def _add_policy_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--policy", default="", help="its name; the checkpoint must be one of it")
    add(
        "--checkpoint",
        "--saved_model_path",
        dest="checkpoint",
        required=True,
        help="model_<...>.pth of a run; with --policy cogact also <run>/checkpoints/<file>.pt or "
        "an id of the Hugging Face hub",
    )
    add(
        "--executor",
        default="",
        help="which actions of predicted sequences are executed, such as single or open_loop(k=4) "
        "(default: as the policy says)",
    )
    add("--action_ensemble", action="store_true", help="blend chunks: adaptive_ensemble(...)")
    add("--action_ensemble_horizon", type=positive_number, default=2, help="chunks of it (2)")
    add("--adaptive_ensemble_alpha", type=float, default=0.1, help="its alpha (0.1)")
    add("--action_chunking", action="store_true", help="execute whole chunks: open_loop(...)")
    add("--action_chunking_window", type=positive_number, help="actions of them (all)")
    add(
        "--batch-rows",
        type=positive_number,
        help="rows of every forward pass; then actions do not depend, to the last bit, on which "
        "sessions share it (default: as many as there are)",
    )
    add_device(group)


def _add_server_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    add("--port", type=int, default=5500, help="port to listen at; 0 = a free one (5500)")
    add("--dialect", default="sam2act", help="at /: sam2act, openpi or vla-eval (sam2act)")
    add(
        "--aliases",
        nargs="+",
        default=[],
        metavar="THEIRS=OURS",
        help="names in observations of openpi and vla-eval, such as base_image=rgb/front",
    )
    add("--max-sessions", type=positive_number, default=DEFAULTS.sessions, help="robots (64)")
    add("--max-batch", type=positive_number, default=DEFAULTS.batch_size, help="per pass (32)")
    add(
        "--max-request-mib",
        type=positive_number,
        default=DEFAULTS.request_bytes // MEBIBYTE,
        help="size of a request in MiB (32)",
    )
    add(
        "--idle-seconds",
        type=float,
        default=DEFAULTS.idle_seconds,
        help="after which an unused session is forgotten (600)",
    )
    add(
        "--batch-milliseconds",
        type=float,
        default=1e3 * DEFAULTS.batch_seconds,
        help="for which a request may wait for others to share its pass (5)",
    )


def _add_safety_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    corners = ("X", "Y", "Z", "X", "Y", "Z")
    add(
        "--safety-box",
        nargs=6,
        type=float,
        metavar=corners,
        help="least, then greatest place of every target in metres",
    )
    add("--safety-step", type=float, help="longest way from one target to the next in metres")
    add("--safety-turn", type=float, help="largest turn from one target to the next in degrees")
    add(
        "--safety-beyond",
        choices=(REFUSE, CLIP),
        default=REFUSE,
        help="answer with an error, one turn per pass, or bring the target within the limits "
        "(refuse)",
    )


def _add_cogact_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--unnorm_key", help="data set of the units (default: the only one)")
    add("--cfg_scale", type=float, default=1.5, help="strength of guidance (1.5)")
    add("--use_bf16", action="store_true", help="keep the vision-language model in bfloat16")
    add(
        "--use_ddim",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="sample by DDIM (default: yes)",
    )
    add("--num_ddim_steps", type=positive_number, default=10, help="its steps (10)")
    add("--action_model_type", default="DiT-B", help="DiT-S, DiT-B or DiT-L (DiT-B)")
    add("--use_ema", action="store_true", help="act with the average of the head")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = build_parser().parse_args(argv)
    return run_command(lambda: _serve(args))


def _serve(args: argparse.Namespace) -> int:
    require_packages()
    from sam2act.serving.acting import Actor
    from sam2act.serving.running import serve

    configure_console()
    settings = _settings(args)
    policy = load_session(args)
    executor = executor_of(args, policy.spec.action.horizon)
    limits = safety_of(args)
    actor = Actor(policy, executor, None if limits is None else partial(SafeSession, limits=limits))
    if args.host not in LOOPBACKS and not settings.token:
        print(
            f"warning: everybody who reaches {args.host} may use this server; set {TOKEN_VARIABLE}",
            file=sys.stderr,
        )

    def ready(address: str) -> None:
        print(
            f"serving {args.checkpoint} ({actor.executor}) at http://{address} and ws://{address}",
            flush=True,
        )

    serve(actor, settings, args.host, args.port, ready)
    return DONE


def _settings(args: argparse.Namespace) -> Settings:
    from sam2act.serving.app import Settings

    safety = safety_of(args)
    refuses = safety is not None and safety.beyond == REFUSE
    try:
        limits = Limits(
            request_bytes=args.max_request_mib * MEBIBYTE,
            sessions=args.max_sessions,
            batch_size=1 if refuses else args.max_batch,  # a refusal is that of one session
            idle_seconds=args.idle_seconds,
            batch_seconds=args.batch_milliseconds / 1e3,
        )
    except ConfigError as error:
        raise ConfigError(with_flags(str(error), FLAGS)) from error
    pairs = [text.partition("=") for text in args.aliases]
    aliases = {theirs: ours for theirs, _, ours in pairs}
    return Settings(limits, os.environ.get(TOKEN_VARIABLE, ""), args.dialect, aliases)


def load_session(args: argparse.Namespace) -> Session:
    """Who predicts.

    Raises:
        ConfigError, CheckpointError, WeightsError: the checkpoint is none of `--policy`.
    """
    device = choose_device(args.device)
    if args.policy:
        POLICIES.check(args.policy)
    if args.policy == "cogact" and Path(args.checkpoint).suffix != ".pth":
        return _released_cogact(args, device)
    bundle = load_policy(args.checkpoint, device=device)
    found = bundle.network.policy
    if args.policy and args.policy != found:
        raise ConfigError(f"--policy {args.policy}: {args.checkpoint} is a checkpoint of {found}")
    encoder = trained_encoder(bundle)
    # The actor checks every request by itself.
    session = PolicySession(
        bundle, batch_size=args.batch_rows, text_encoder=encoder, validate=False
    )
    session.warm_up()
    return session


def _released_cogact(args: argparse.Namespace, device: torch.device) -> Session:
    from sam2act.policies.cogact.released_files import load_vla
    from sam2act.policies.cogact.released_session import ReleasedSession

    model = load_vla(
        args.checkpoint,
        action_model_type=args.action_model_type,
        use_ema=args.use_ema,
        vlm_dtype=torch.bfloat16 if args.use_bf16 else torch.float32,
    )
    return ReleasedSession(
        model.to(device).eval(),
        args.unnorm_key,
        cfg_scale=args.cfg_scale,
        use_ddim=args.use_ddim,
        num_ddim_steps=args.num_ddim_steps,
    )


def safety_of(args: argparse.Namespace) -> SafetyLimits | None:
    """The limits of targets that the flags set; None = there are none.

    Raises:
        ConfigError: they are impossible.
    """
    box = None if args.safety_box is None else tuple(args.safety_box)
    if (box, args.safety_step, args.safety_turn) == (None, None, None):
        return None
    try:
        return SafetyLimits(box, args.safety_step, args.safety_turn, args.safety_beyond)
    except ConfigError as error:
        raise ConfigError(with_flags(str(error), FLAGS)) from error


def executor_of(args: argparse.Namespace, horizon: int) -> str:
    """The description of the executor that the flags choose; empty = as the policy says.

    Raises:
        ConfigError: they choose several.
    """
    given = ("--executor", "--action_ensemble", "--action_chunking")
    chosen = [flag for flag in given if getattr(args, flag.removeprefix("--"))]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} exclude each other; give one of them")
    if args.action_ensemble:
        return f"adaptive_ensemble({args.action_ensemble_horizon}, {args.adaptive_ensemble_alpha})"
    if args.action_chunking:
        return f"open_loop(k={args.action_chunking_window or horizon})"
    return str(args.executor)


if __name__ == "__main__":
    sys.exit(main())
