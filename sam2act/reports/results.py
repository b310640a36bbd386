"""The part of the report about success: in words, as bars, in tables, by cause of failure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from sam2act.evaluation.analysis.aggregate import (
    Success,
    average_tasks,
    failure_causes,
    mean_reward,
    summarise_tasks,
    tasks_of,
    variation_counts,
)
from sam2act.evaluation.analysis.methods import GROUND_TRUTH, PLUS, STAGE_ONE, Method
from sam2act.evaluation.results import NEVER_BEGUN
from sam2act.reports.bars import BAR_COLORS, Bar, BarGroup, bar_chart, percent
from sam2act.reports.page import Page
from sam2act.reports.perturbed import add_perturbed
from sam2act.reports.remarks import remarks, simulators, warnings
from sam2act.reports.scores import add_scores, is_graded

AVERAGE = "mean over tasks"
GUESS_COLUMN = "first guess right"
IN_WORDS = {
    STAGE_ONE: "without memory",
    PLUS: "with memory",
    GROUND_TRUTH: "replayed demonstrations",
}


def add_results(page: Page, methods: Sequence[Method], note: str) -> None:
    """Everything about success, the sentence that sums it up first."""
    page.lead(headline(methods))
    if note:
        page.note(note)
    for text in remarks(methods):
        page.text(text)
    for text in warnings(methods):
        page.note(text)
    add_scores(page, methods)
    page.heading("Success")
    page.markup(bar_chart(bar_groups(methods)))
    page.heading("Figures")
    header, rows = success_table(methods)
    page.table(header, rows, texts=range(header.index("success")))
    page.text(footnote(methods))
    add_perturbed(page, methods)
    add_variations(page, methods)
    add_failures(page, methods)


def default_title(methods: Sequence[Method]) -> str:
    """A heading that names what was evaluated."""
    tasks = all_tasks(methods)
    return f"Success on {tasks[0] if len(tasks) == 1 else f'{len(tasks)} tasks'}"


def all_tasks(methods: Sequence[Method]) -> list[str]:
    """The tasks of all methods."""
    return tasks_of(method.rows for method in methods)


# ------------------------------------------------------------------------------------ words
def headline(methods: Sequence[Method]) -> str:
    """The result in one sentence, memory first."""
    tasks, where = all_tasks(methods), " and ".join(simulators(methods))
    if len(tasks) == 1:
        text = f"{tasks[0]} in {where}: successful episodes "
    else:
        text = f"Mean success over {len(tasks)} tasks in {where}: "
    order = {kind: place for place, kind in enumerate((PLUS, STAGE_ONE, GROUND_TRUTH))}
    ordered = sorted(methods, key=lambda method: order.get(method.kind, len(order)))
    text += ", ".join(_in_words(method, len(tasks)) for method in ordered)
    chance = _common_chance(methods, tasks)
    return f"{text}." if chance is None else f"{text}; chance is {percent(chance)}."


def _in_words(method: Method, tasks: int) -> str:
    """Figures of a method where `tasks` tasks were evaluated in all."""
    total, own = average_tasks(method.runs), len(tasks_of(method.runs))
    name = IN_WORDS.get(method.kind, method.label)
    name += "" if method.label in (GROUND_TRUTH, name) else f" ({method.label})"
    if tasks == 1:
        guesses = method.guesses(tasks_of(method.runs)[0])
        first = "" if guesses is None else f" (first guess right: {guesses.right})"
        return f"{name} {total.successes} of {total.episodes}{first}"
    where = "" if own == tasks else f" of {own} of these tasks"
    return f"{name} {percent(total.rate)} of {total.episodes} episodes{where}"


def _common_chance(methods: Sequence[Method], tasks: Sequence[str]) -> float | None:
    """Chance averaged over the tasks, None unless every task has one."""
    found = [chance_of(methods, task) for task in tasks]
    known = [chance for chance in found if chance is not None]
    return sum(known) / len(tasks) if known and len(known) == len(tasks) else None


def chance_of(methods: Sequence[Method], task: str) -> float | None:
    """The chance floor of a task, from the first method that knows it."""
    return next((c for m in methods if (c := m.chance(task)) is not None), None)


# ------------------------------------------------------------------------------------- bars
def bar_groups(methods: Sequence[Method]) -> list[BarGroup]:
    """One group per task, and one for the mean of several tasks."""
    tasks = all_tasks(methods)
    colors = {m.label: BAR_COLORS[i % len(BAR_COLORS)] for i, m in enumerate(methods)}
    per_task = {method.label: summarise_tasks(method.runs) for method in methods}
    groups = [
        BarGroup(
            task,
            [
                _bar(m, per_task[m.label][task], colors[m.label])
                for m in methods
                if task in per_task[m.label]
            ],
            chance_of(methods, task),
        )
        for task in tasks
    ]
    if len(tasks) > 1:
        complete = [m for m in methods if len(per_task[m.label]) == len(tasks)]
        bars = [_bar(m, average_tasks(m.runs), colors[m.label]) for m in complete]
        groups.append(BarGroup(AVERAGE, bars, _common_chance(methods, tasks)))
    return groups


def _bar(method: Method, success: Success, color: str) -> Bar:
    text = f"{percent(success.rate)} ({success.successes}/{success.episodes})"
    return Bar(method.label, success.rate, success.interval, text, color)


# ----------------------------------------------------------------------------------- tables
def success_table(methods: Sequence[Method]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: every task, if there are several, with every method."""
    repeated = any(len(method.runs) > 1 for method in methods)
    header = ["method", "success", "±\u00a0s.e.", "95 % interval", "episodes", "steps", "chance"]
    guessed = any(method.guesses(task) for method in methods for task in all_tasks(methods))
    header += [GUESS_COLUMN] if guessed else []
    header += ["mean ± s.d. over runs"] if repeated else []
    graded = is_graded(methods)
    header += ["mean reward"] if graded else []
    tasks = all_tasks(methods)
    per_task = {method.label: summarise_tasks(method.runs) for method in methods}

    def figures(
        method: Method, success: Success, within: Sequence[str], chance: float | None
    ) -> list[str]:
        rewards = [mean_reward(method.rows, task) for task in within]
        row = _figures(method, success, chance)
        row += [_guess(method, within)] if guessed else []
        row += [_over_runs(success)] if repeated else []
        return [*row, f"{statistics.fmean(rewards):.1f}"] if graded else row

    rows = [
        [task, *figures(method, per_task[method.label][task], [task], chance_of(methods, task))]
        for task in tasks
        for method in methods
        if task in per_task[method.label]
    ]
    if len(tasks) == 1:
        return header, [row[1:] for row in rows]
    chance = _common_chance(methods, tasks)
    complete = [m for m in methods if len(per_task[m.label]) == len(tasks)]
    rows += [[AVERAGE, *figures(m, average_tasks(m.runs), tasks, chance)] for m in complete]
    return ["task", *header], rows


def _figures(method: Method, success: Success, chance: float | None) -> list[str]:
    low, high = success.interval
    return [
        method.label,
        percent(success.rate),
        f"{100 * success.standard_error:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{success.successes}/{success.episodes}",
        f"{success.mean_steps:.1f}",
        "-" if chance is None else percent(chance),
    ]


def _guess(method: Method, tasks: Sequence[str]) -> str:
    """Right first guesses in one task; a mean over tasks has none."""
    guesses = method.guesses(tasks[0]) if len(tasks) == 1 else None
    return "-" if guesses is None else f"{percent(guesses.rate)} ({guesses.right})"


def _over_runs(success: Success) -> str:
    mean, deviation = success.run_mean, success.run_deviation
    if mean is None or deviation is None:
        return "-"
    return f"{100 * mean:.1f} ± {100 * deviation:.1f} (n = {len(success.run_rates)})"


GRADED = (
    " Mean reward: of the last step of every episode, in percent of the full one; a threshold of "
    "the simulator says from which reward on an episode succeeds."
)


def footnote(methods: Sequence[Method]) -> str:
    """What the columns mean."""
    text = (
        "Success: share of the episodes; s.e.: standard error; interval: Wilson score interval;"
        " steps: mean number of actions per episode; chance: first guess of a policy that does "
        "everything right but does not know what only the past could tell. Such a policy may "
        "guess again while steps are left, and so succeed more often than that."
    )
    if any(method.guesses(task) for method in methods for task in all_tasks(methods)):
        text += (
            f" {GUESS_COLUMN}: share of the episodes in which the first place that the gripper is "
            "sent to after the button (in push_same_button: the mat), of all patches, drawers or "
            "buttons, is the right one."
        )
    if is_graded(methods):
        text += GRADED
    if any(len(method.runs) > 1 for method in methods):
        text += (
            " Standard error and interval count every episode as independent; s.d.: sample "
            "standard deviation over n runs, which are trainings where a method pools several run "
            "folders, else repeated evaluations."
        )
    return text


def add_variations(page: Page, methods: Sequence[Method]) -> None:
    """Successes of every variation that occurs; a memory shows in all of them being solved."""
    counts = [variation_counts(method.rows) for method in methods]
    keys: dict[tuple[str, int], None] = {}
    for task in all_tasks(methods):
        seen = {key for count in counts for key in count if key[0] == task}
        keys |= dict.fromkeys(sorted(seen))
    page.heading("Success per variation")
    rows = [
        [
            task,
            "not begun" if variation == NEVER_BEGUN else str(variation),
            *(_fraction(count.get((task, variation))) for count in counts),
        ]
        for task, variation in keys
    ]
    header = ["task", "variation", *(method.label for method in methods)]
    hidden = 1 if len(all_tasks(methods)) == 1 else 0
    page.table(header[hidden:], [row[hidden:] for row in rows])


def _fraction(count: tuple[int, int] | None) -> str:
    return "-" if count is None else f"{count[0]}/{count[1]}"


def add_failures(page: Page, methods: Sequence[Method]) -> None:
    """Why episodes failed; every cause counts as failure, errors of the simulator included."""
    page.heading("Causes of failure")
    rows = [
        [method.label, cause.cause, str(cause.count), cause.example or "-"]
        for method in methods
        for cause in failure_causes(method.rows)
    ]
    if not rows:
        page.text("No episode failed.")
        return
    page.table(["method", "cause", "episodes", "example of its message"], rows, texts=(0, 1, 3))
    page.text("Each of them counts as a failure, errors of the simulator included.")
