"""Sets of tasks by name, and what guessing reaches in them."""

from __future__ import annotations

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
# Success of a policy that does everything right but guesses what only the past could tell.
CHANCE = {"reopen_drawer": 1 / 3, "put_block_back": 1 / 4, "rearrange_block": 1 / 2}
