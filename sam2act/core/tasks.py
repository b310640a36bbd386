"""Sets of tasks by name, what guessing reaches in them, and the cameras that see them."""

from __future__ import annotations

import re
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
MEMORYBENCH_TASKS = ("reopen_drawer", "put_block_back", "rearrange_block")
# What the paper did with a real arm; their twins in the embedded simulator are scenes of our own.
REAL_ROBOT_TASKS = (
    "turn_on_lamp",
    "push_buttons_in_sequence",
    "stack_cubes",
    "push_same_button",
)
# Share of right first guesses of a policy that does everything right but guesses what only the past
# could tell. It is its success, too, unless an episode has enough steps to guess again.
CHANCE = {
    **{"reopen_drawer": 1 / 3, "put_block_back": 1 / 4, "rearrange_block": 1 / 2},
    "push_same_button": 1 / 3,
}
# Mean scores of 0 to 1 without a learned policy, where rewards are graded. Nearest neighbour: what
# was done in the recorded state that is most like the present one.
REFERENCE_SCORES = {
    "pusht": {
        **{"holding still": 0.140, "random actions": 0.145, "nearest neighbour": 0.69},
        "recorded people, replayed": 0.945,
    },
}
# Whose images policies see by default, in this order.
POLICY_CAMERAS = ("front", "left_shoulder", "right_shoulder", "wrist")
# Of The Colosseum's twenty tasks those that are among RLBench's 18, and the others.
COLOSSEUM_TASKS = (
    "insert_onto_square_peg",
    "open_drawer",
    "place_wine_at_rack_location",
    "put_money_in_safe",
    "reach_and_drag",
    "stack_cups",
)
_OTHER_COLOSSEUM_TASKS = (
    *("basketball_in_hoop", "close_box", "close_laptop_lid", "empty_dishwasher"),
    *("get_ice_from_fridge", "hockey", "meat_on_grill", "move_hanger", "scoop_with_spatula"),
    *("setup_chess", "slide_block_to_target", "straighten_rope", "turn_oven_on", "wipe_desk"),
)
_COLOSSEUM = "colosseum"
# One name for many tasks, in training, evaluation and generation alike.
TASK_SETS = {
    "all": RLBENCH_TASKS,
    "memorybench": MEMORYBENCH_TASKS,
    "real_robot": REAL_ROBOT_TASKS,
    _COLOSSEUM: COLOSSEUM_TASKS,
}
# What The Colosseum perturbs, by its index; `TASK_<index>` is the task under that index.
COLOSSEUM_INDICES = (
    "no_variations",
    "all_mixed",
    "manip_obj_color",
    "recv_obj_color",
    "manip_obj_tex",
    "recv_obj_tex",
    "manip_obj_size",
    "recv_obj_size",
    "light_color",
    "table_color",
    "table_texture",
    "distractor",
    "background_texture",
    "rlbench_variations",
    "camera_pose",
    "rlbench_and_colosseum",
    "friction",
    "mass",
)
EVERY_VARIATION = (13, 15)  # indices under which all variations of a task occur, else only 0
# Indices under which a task has nothing to perturb.
_NOT_PERTURBED = {
    "insert_onto_square_peg": (4,),
    "open_drawer": (3, 4, 5, 7),
    "place_wine_at_rack_location": (4,),
    "put_money_in_safe": (7,),
    "stack_cups": (3, 5, 7),
}
_INDEXED = re.compile(r"(.+)_([0-9]+)")


def colosseum_task(name: str) -> tuple[str, int] | None:
    """Task (or `colosseum`) and index that `name` means, `open_drawer_2`; None for names that only
    happen to end in a number."""
    match = _INDEXED.fullmatch(name)
    if match is None or int(match.group(2)) >= len(COLOSSEUM_INDICES):
        return None
    if match.group(1) not in (_COLOSSEUM, *COLOSSEUM_TASKS, *_OTHER_COLOSSEUM_TASKS):
        return None
    return match.group(1), int(match.group(2))


def has_index(task: str, index: int) -> bool:
    """Whether The Colosseum evaluates `task`, one of `COLOSSEUM_TASKS`, under `index`."""
    return task in COLOSSEUM_TASKS and index not in _NOT_PERTURBED.get(task, ())


def expand_tasks(names: str | Iterable[str]) -> tuple[str, ...]:
    """The tasks that `names` mean: commas separate names, sets of `TASK_SETS` are expanded.

    `all memorybench`, or `all,memorybench`, are all 21 tasks that are published; `colosseum_2` are
    the tasks of The Colosseum under its index 2. The order is that of the names; a task that is
    named twice is there twice, and nothing is checked.
    """
    parts = [names] if isinstance(names, str) else names
    found = [name.strip() for part in parts for name in part.split(",")]
    return tuple(task for name in found if name for task in _tasks_of(name))


def _tasks_of(name: str) -> tuple[str, ...]:
    indexed = colosseum_task(name)
    if indexed is not None and indexed[0] == _COLOSSEUM:
        index = indexed[1]
        return tuple(f"{task}_{index}" for task in COLOSSEUM_TASKS if has_index(task, index))
    return TASK_SETS.get(name, (name,))
