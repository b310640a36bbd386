"""Sets of tasks by name, what guessing reaches in them, and the cameras that see them."""

from __future__ import annotations

from collections.abc import Iterable

RLBENCH_TASKS = (
    "put_item_in_drawer",
    "reach_and_drag",
    "turn_tap",
    "slide_block_to_color_target",
    "open_drawer",
    "put_groceries_in_cupboard",
    "place_shape_in_shape_sorter",
    "put_money_in_safe",
    "push_buttons",
    "close_jar",
    "stack_blocks",
    "place_cups",
    "place_wine_at_rack_location",
    "light_bulb_in",
    "sweep_to_dustpan_of_size",
    "insert_onto_square_peg",
    "meat_off_grill",
    "stack_cups",
)
# Success of a policy that does everything right but guesses what only the past could tell.
CHANCE = {"reopen_drawer": 1 / 3, "put_block_back": 1 / 4, "rearrange_block": 1 / 2}
MEMORYBENCH_TASKS = tuple(CHANCE)
# Whose images policies see by default, in this order.
POLICY_CAMERAS = ("front", "left_shoulder", "right_shoulder", "wrist")
# One name for many tasks, in training, evaluation and generation alike.
TASK_SETS = {"all": RLBENCH_TASKS, "memorybench": MEMORYBENCH_TASKS}


def expand_tasks(names: str | Iterable[str]) -> tuple[str, ...]:
    """The tasks that `names` mean: commas separate names, sets of `TASK_SETS` are expanded.

    `all memorybench`, or `all,memorybench`, are all 21 tasks. The order is that of the names; a
    task that is named twice is there twice, and nothing is checked.
    """
    parts = [names] if isinstance(names, str) else names
    found = [name.strip() for part in parts for name in part.split(",")]
    return tuple(task for name in found if name for task in TASK_SETS.get(name, (name,)))
