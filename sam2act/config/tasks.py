"""Task sets by name, and the folders that belong to them."""

from __future__ import annotations

from sam2act.config.schema import ConfigError, ExperimentConfig

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


def task_names(experiment: ExperimentConfig) -> tuple[str, ...]:
    """The tasks that the key `tasks` means: a comma-separated list; `all` = the 18 of RLBench.

    Raises:
        ConfigError: the list is empty or names a task twice.
    """
    names = tuple(name.strip() for name in experiment.tasks.split(",") if name.strip())
    if names[:1] == ("all",):
        return RLBENCH_TASKS
    if not names:
        raise ConfigError("tasks is empty; name tasks separated by commas, or all")
    if len(set(names)) < len(names):
        raise ConfigError(f"tasks: {experiment.tasks} names a task twice")
    return names


def data_folder(experiment: ExperimentConfig) -> str:
    """Where demos lie: `data_folder`, else `data_memory` for MemoryBench tasks and `data`."""
    return experiment.data_folder or f"data{_suffix(experiment)}"


def store_folder(experiment: ExperimentConfig) -> str:
    """Where frame stores are built: `store_folder`, else `store_memory` or `store`."""
    return experiment.store_folder or f"store{_suffix(experiment)}"


def _suffix(experiment: ExperimentConfig) -> str:
    return "_memory" if set(task_names(experiment)) <= set(MEMORYBENCH_TASKS) else ""
