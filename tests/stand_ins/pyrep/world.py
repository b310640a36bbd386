"""The simulator of the stand-ins: what happened in it, and what a test wants to happen."""

from __future__ import annotations

from typing import Any


class DistributedContext:
    """One per process, as in CoppeliaSim; `calls` lists (name, *details) in order."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.launched = False
        self.steps = 0  # simulation steps since the launch
        # Scripted by tests:
        self.launch_error: Exception | None = None
        self.reset_error: Exception | None = None
        self.step_error: Exception | None = None
        self.path_errors: list[Exception] = []  # one per failing call of get_path
        self.path_length = 4  # simulation steps
        self.solved_after: int | None = None  # steps after the reset
        self.failed = False  # the task declares failure
        self.script_works = True
        self.touching: set[str] = set()  # shapes that the arm touches
        self.collidable = {"robot": True, "table": True, "wall": True, "held": True}
        self.scene_objects = {"workspace", "cam_cinematic_base", "cam_cinematic_placeholder"}
        self.turns: dict[str, float] = {}  # about z, per object

    def named(self, name: str) -> list[tuple]:
        """The details of all calls of this name."""
        return [call[1:] for call in self.calls if call[0] == name]

    def note(self, name: str, *details: Any) -> None:
        """Add a call."""
        self.calls.append((name, *details))

    def find(self, name: str) -> str:
        """`name`, as PyRep finds objects of the open scene."""
        if not self.launched:
            raise AssertionError(f"{name} was looked up before the simulator ran")
        if name not in self.scene_objects:
            raise RuntimeError(f"Handle {name} does not exist.")
        return name


WORLD = DistributedContext()
