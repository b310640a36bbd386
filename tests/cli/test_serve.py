"""The command `sam2act serve`: what it refuses, and that it serves until it is ended."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sam2act.cli import serve
from sam2act.config.load import load_experiment, load_network
from sam2act.core.errors import ConfigError
from sam2act.policies.checkpoint import build_policy, config_extra, save_checkpoint

pytest.importorskip("aiohttp", reason="aiohttp (extra serve) is not installed")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small CogACT."""
    experiment = load_experiment("configs/tiny_cogact.yaml", "cameras front transforms []")
    bundle = build_policy(experiment, load_network("configs/mvt/tiny_cogact.yaml"))
    path = tmp_path_factory.mktemp("run") / "model_last.pth"
    save_checkpoint(path, {"model_state": bundle.model_state(), "extra": config_extra(bundle)})
    return path


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one line with which the command ends."""
    assert serve.main(flags) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1
    return lines[0]


def executor(*flags: str) -> str:
    return serve.executor_of(serve.build_parser().parse_args(["--checkpoint", "x", *flags]), 16)


def test_published_flags_choose_the_executor() -> None:
    ensemble = ["--action_ensemble", "--action_ensemble_horizon", "7"]
    assert executor() == ""
    assert executor(*ensemble) == "adaptive_ensemble(7, 0.1)"
    assert executor("--action_chunking") == "open_loop(k=16)"
    assert executor("--action-chunking", "--action-chunking-window", "4") == "open_loop(k=4)"


def test_flags_set_the_limits_of_targets() -> None:
    def limits(*flags: str) -> Any:
        return serve.safety_of(serve.build_parser().parse_args(["--checkpoint", "x", *flags]))

    assert limits() is None and limits("--safety-beyond", "clip") is None
    box = ["--safety-box", "-0.3", "-0.5", "0", "0.4", "0.5", "0.6"]
    found = limits(*box, "--safety-turn", "15")
    assert (found.box, found.step, found.turn) == ((-0.3, -0.5, 0, 0.4, 0.5, 0.6), None, 15)
    assert found.beyond == "refuse" and limits("--safety-step", "0.1").step == 0.1
    with pytest.raises(ConfigError, match="--safety-step: must be positive, got -1"):
        limits("--safety-step", "-1")


def test_what_cannot_be_is_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ["--checkpoint", str(checkpoint)]
    both = refused(capsys, *path, "--action_ensemble", "--action_chunking")
    assert "--action_ensemble and --action_chunking exclude each other" in both
    assert "is a checkpoint of cogact" in refused(capsys, *path, "--policy", "rvt")
    assert "did you mean rvt2?" in refused(capsys, *path, "--policy", "rvt22")
    no_poses = refused(capsys, *path, "--safety-step", "0.1", "--port", "0")
    assert "actions of mode ee_delta" in no_poses and "limit the motion in the robot's" in no_poses
    assert "--idle-seconds must be above 0" in refused(capsys, *path, "--idle-seconds", "0")
    assert "<run>/checkpoints/<file>.pt" in refused(
        capsys, "--policy", "cogact", "--checkpoint", str(checkpoint.with_suffix(".pt"))
    )
    monkeypatch.setattr("sam2act.serving.requirements.PACKAGES", ("no_such_package",))
    assert 'pip install "sam2act[serve]"' in refused(capsys, *path)


def test_it_serves_until_it_is_terminated(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2ACT_TOKEN", "secret")
    found: dict[str, Any] = {}

    def visit(address: str) -> None:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=30) as answer:
                found["health"] = json.load(answer)
            urllib.request.urlopen(f"{address}/metrics", timeout=30)
        except urllib.error.HTTPError as error:
            found["metrics"] = error.code
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    original = print

    def watched(text: str, **keys: Any) -> None:
        original(text, **keys)
        if match := re.search(r"\(open_loop\(k=2\)\) at (http://127\.0\.0\.1:\d+) ", text):
            threading.Thread(target=visit, args=[match[1]]).start()

    monkeypatch.setattr(serve, "print", watched, raising=False)
    flags = ["--checkpoint", str(checkpoint), "--executor", "open_loop(k=2)", "--port", "0"]
    assert serve.main(flags) == 0
    assert found == {"health": {"status": "ok"}, "metrics": 401}
