"""The table and the page of a comparison of presets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2act.core.files import replacing
from sam2act.evaluation.analysis.aggregate import Success, tasks_of, wilson_interval
from sam2act.evaluation.analysis.paired import SIGNIFICANT, Pairs, count_pairs, holm
from sam2act.experiments.results import CostSummary, PresetResults
from sam2act.reports.bars import BAR_COLORS, Bar, BarGroup, bar_chart, percent
from sam2act.reports.marks import (
    CostPoint,
    Difference,
    axis_ticks,
    color_legend,
    cost_panel,
    decimal_steps,
    difference_chart,
    signed,
)
from sam2act.reports.page import Page
from sam2act.reports.remarks import remarks, warnings

ALL_TASKS = "all tasks"
UNKNOWN = "-"
NARROW = "\u00a0"  # a space at which no line breaks
MORE_COLORS = ("#d1495b", "#5a6472", "#3aa6a0", "#7a5230", "#b8a20c", "#4b4fa3")
COLORS = (*BAR_COLORS, *MORE_COLORS)
PAIRED_NOTE = (
    "Every pair is the same scene, met by the training of the same seed of both presets. A filled "
    "dot is a difference that chance explains in fewer than 5 % of cases (exact McNemar test, p "
    "adjusted by Holm for the number of presets in its group); a ring is one that it may explain. "
    "Lines are 95 % intervals (Bonett and Price). All episodes count as independent; those of one "
    "training are not quite."
)
COST_NOTE = (
    "Training time: of one cell, an earlier stage included. Memory: the peak of the training, on a "
    "CPU of its whole process, on a GPU of its tensors. Latency: the median of ten forward passes "
    "after the evaluation. They are measured where the cells ran; compare only what ran on the "
    "same machine."
)
ACTING_NOTE = (
    "Steps, forward passes and times of an episode are means over all episodes, failed ones "
    "included. A step is a keyframe, of policies at frame rate a frame (1/20 s). A forward pass is "
    "a prediction; one of a diffusion policy holds all its denoising steps. Policy time: from "
    "observation to action. Simulator time: planning, motion and cameras."
)


@dataclass(frozen=True)
class Cost:
    """A column of costs: its title, its value, how a value is written, and round ones."""

    title: str
    value: Callable[[CostSummary], float | None]
    text: Callable[[float], str]
    steps: tuple[float, ...] = ()  # round values


def _count(value: float) -> str:
    return next(
        (f"{value / size:.3g} {unit}" for size, unit in ((1e6, "M"), (1e3, "k")) if value >= size),
        f"{value:.0f}",
    )


def _bytes(value: float) -> str:
    small = value < 1000 * MEBIBYTE
    return f"{value / MEBIBYTE:.3g} MiB" if small else f"{value / 2**30:.3g} GiB"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _seconds(value: float) -> str:
    if value >= 3600:
        return f"{value / 3600:.3g} h"
    if value >= 60:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


PER_EPISODE = " per episode"
MINUTE, HOUR, MEBIBYTE = 60.0, 3600.0, 2.0**20
TIME_STEPS = (
    *decimal_steps(1e-4, 1e-1)[:-2],
    *(1.0, 5.0, 15.0, MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR),
    *(days * 24 * HOUR for days in (1.0, 3.0, 10.0, 30.0)),
)
PARAMETERS = Cost("parameters", lambda c: c.parameters, _count, decimal_steps(1e3, 1e12))
TRAINED = Cost("of them trained", lambda c: c.trained, _count)
RATE = Cost("samples/s", lambda c: c.samples_per_second, _number)
TIME = Cost("training time", lambda c: c.training_seconds, _seconds, TIME_STEPS)
MEMORY = Cost(
    *("peak memory", lambda c: c.peak_memory_bytes, _bytes),
    tuple(MEBIBYTE * 2**power for power in range(20)),
)
LATENCY = Cost("latency", lambda c: c.latency, _seconds, TIME_STEPS)
STEPS = Cost("steps" + PER_EPISODE, lambda c: c.steps, _number)
PASSES = Cost(
    *("forward passes" + PER_EPISODE, lambda c: c.forward_passes, _number),
    decimal_steps(1.0, 1e4),
)
POLICY_TIME = Cost("policy time" + PER_EPISODE, lambda c: c.policy_seconds, _seconds, TIME_STEPS)
SIMULATOR_TIME = Cost("simulator time" + PER_EPISODE, lambda c: c.simulator_seconds, _seconds)
COSTS = (PARAMETERS, TRAINED, RATE, TIME, MEMORY, LATENCY, STEPS)
OF_ACTING = (PASSES, POLICY_TIME, SIMULATOR_TIME)  # earlier evaluations do not tell
PANELS = (PARAMETERS, TIME, MEMORY, LATENCY, PASSES, POLICY_TIME)


# ------------------------------------------------------------------------------------- table
def comparison_table(results: Sequence[PresetResults]) -> tuple[list[str], list[list[str]]]:
    """Header and a row per preset: success in every task, their mean, costs."""
    tasks = all_tasks(results)
    guessed = [t for t in tasks if any(found.method.guesses(t) for found in results)]
    known = [cost for cost in OF_ACTING if any(cost.value(f.costs) is not None for f in results)]
    costs = [*COSTS, *known]
    header = ["preset", *tasks]
    header += [f"first guess right, {task}" for task in guessed]
    header += ["mean", "95 % interval", "episodes", "over seeds", *(cost.title for cost in costs)]
    rows = []
    for found in results:
        by_task, mean = found.tasks, found.mean
        low, high = mean.interval
        rows.append(
            [
                found.name,
                *(percent(by_task[t].rate) if t in by_task else UNKNOWN for t in tasks),
                *(_guess(found, task) for task in guessed),
                percent(mean.rate) if len(by_task) == len(tasks) else UNKNOWN,
                f"{100 * low:.1f} to {100 * high:.1f}" if len(by_task) == len(tasks) else UNKNOWN,
                str(mean.episodes),
                _over_seeds(mean),
                *(_cost(cost, found.costs) for cost in costs),
            ]
        )
    return header, rows


def write_table(path: Path, results: Sequence[PresetResults]) -> None:
    """The table as comma-separated values, atomically."""
    header, rows = comparison_table(results)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with replacing(path, shared=True) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def all_tasks(results: Sequence[PresetResults]) -> list[str]:
    """The tasks of all presets."""
    return tasks_of(run for found in results for run in found.runs)


def _guess(found: PresetResults, task: str) -> str:
    guesses = found.method.guesses(task)
    return UNKNOWN if guesses is None else percent(guesses.rate)


def _over_seeds(mean: Success) -> str:
    if mean.run_mean is None or mean.run_deviation is None:
        return UNKNOWN
    return f"{100 * mean.run_mean:.1f} ± {100 * mean.run_deviation:.1f}"


def _cost(cost: Cost, costs: CostSummary) -> str:
    value = cost.value(costs)
    return UNKNOWN if value is None else cost.text(value)


# -------------------------------------------------------------------------------------- page
def comparison_page(
    title: str,
    results: Sequence[PresetResults],
    *,
    reference: str,
    notes: Sequence[str] = (),
    commands: str = "",
) -> Page:
    """The page.

    Args:
        title: its heading.
        results: presets with finished episodes, at least one.
        reference: the preset that the others are compared with, if it has episodes.
        notes: what must not be overlooked, such as cells that failed.
        commands: that make everything, a line each.
    """
    page = Page(title)
    colors = {found.name: COLORS[i % len(COLORS)] for i, found in enumerate(results)}
    base = next((found for found in results if found.name == reference), results[0])
    page.lead(headline(results, base))
    for note in [*notes, *_warnings(results)]:
        page.note(note)
    page.heading("Success")
    page.markup(bar_chart(_bar_groups(results, colors)))
    _add_guesses(page, results, colors)
    _add_differences(page, results, base, colors)
    _add_costs(page, results, colors)
    _add_acting(page, results)
    page.heading("All figures")
    header, rows = comparison_table(results)
    page.table(header, rows)
    page.text(
        "Success: share of the episodes; interval: Wilson score interval of the mean over tasks; "
        "over seeds: mean and sample standard deviation over trainings. " + COST_NOTE
    )
    for text in remarks([found.method for found in results]):
        page.text(text)
    if commands:
        page.heading("To repeat it")
        with page.folded("commands of all cells"):
            page.code(commands)
    return page


def headline(results: Sequence[PresetResults], base: PresetResults) -> str:
    """The best preset and how it compares with the reference, in a sentence or two."""
    tasks = all_tasks(results)
    complete = [found for found in results if len(found.tasks) == len(tasks)] or list(results)
    best = max(complete, key=lambda found: found.mean.rate)
    where = tasks[0] if len(tasks) == 1 else f"{len(tasks)} tasks"
    if not best.mean.rate:
        return f"No preset solves an episode of {where}."
    equal = [found.name for found in complete if found.mean.rate == best.mean.rate]
    if len(equal) > 1:
        return f"{' and '.join(equal)} succeed most often: {percent(best.mean.rate)} on {where}."
    text = f"{best.name} succeeds most often: {percent(best.mean.rate)} on {where}."
    pairs = count_pairs(best.pairs(), base.pairs()) if best is not base else None
    if pairs is None:
        return text
    low, high = (100 * end for end in pairs.interval)
    return (
        f"{text} On equal scenes that is {signed(pairs.difference)} points against {base.name} "
        f"(95{NARROW}% interval {low:+.0f} to {high:+.0f}, {_p(pairs.p_value)})."
    )


def _warnings(results: Sequence[PresetResults]) -> list[str]:
    return warnings([found.method for found in results])


def _bar_groups(results: Sequence[PresetResults], colors: dict[str, str]) -> list[BarGroup]:
    """The mean over tasks first, where there are several."""
    tasks = all_tasks(results)
    chances = {
        task: next((c for f in results if (c := f.method.chance(task)) is not None), None)
        for task in tasks
    }
    groups = []
    if len(tasks) > 1:
        whole = [found for found in results if len(found.tasks) == len(tasks)]
        bars = [_bar(found.name, found.mean, colors[found.name]) for found in whole]
        groups.append(BarGroup(f"mean over {len(tasks)} tasks", bars))
    for task in tasks:
        known = [(found.name, found.tasks[task]) for found in results if task in found.tasks]
        bars = [_bar(name, success, colors[name]) for name, success in known]
        groups.append(BarGroup(task, bars, chances[task]))
    return groups


def _bar(name: str, success: Success, color: str) -> Bar:
    text = f"{percent(success.rate)} ({success.successes}/{success.episodes})"
    return Bar(name, success.rate, success.interval, text, color)


def _add_guesses(page: Page, results: Sequence[PresetResults], colors: dict[str, str]) -> None:
    """First guesses, where a task has them: what success alone does not tell of a memory."""
    groups = []
    for task in all_tasks(results):
        bars = []
        for found in results:
            guesses = found.method.guesses(task)
            if guesses is not None:
                interval = wilson_interval(guesses.rate, guesses.episodes)
                text = f"{percent(guesses.rate)} ({guesses.right}/{guesses.episodes})"
                bars.append(Bar(found.name, guesses.rate, interval, text, colors[found.name]))
        if bars:
            chance = next((c for f in results if (c := f.method.chance(task)) is not None), None)
            groups.append(BarGroup(task, bars, chance))
    if groups:
        page.heading("First guesses")
        page.text(
            "Which place the policy goes to first after the button shows memory by itself: an "
            "episode leaves time to try the others, too."
        )
        page.markup(bar_chart(groups))


def _add_differences(
    page: Page,
    results: Sequence[PresetResults],
    base: PresetResults,
    colors: dict[str, str],
) -> None:
    others = [found for found in results if found is not base]
    tasks = all_tasks(results)
    named = [(ALL_TASKS, "")] * (len(tasks) > 1) + [(task, task) for task in tasks]
    groups = []
    for title, task in named:
        found = [(o.name, count_pairs(o.pairs(task), base.pairs(task))) for o in others]
        pairs = [(name, count) for name, count in found if count is not None]
        adjusted = holm([count.p_value for _, count in pairs])
        strips = [
            _difference(name, count, p, colors[name])
            for (name, count), p in zip(pairs, adjusted, strict=True)
        ]
        if strips:
            groups.append((title, strips))
    if groups:
        page.heading(f"Difference from {base.name} on equal scenes")
        page.markup(
            difference_chart(
                groups, f"points of success; right of the line: better than {base.name}"
            )
        )
        page.text(PAIRED_NOTE)


def _difference(name: str, pairs: Pairs, adjusted: float, color: str) -> Difference:
    text = f"{signed(pairs.difference)}, {_p(adjusted)}"
    clear = adjusted < SIGNIFICANT
    return Difference(name, pairs.difference, pairs.interval, text, color, clear)


def _p(value: float) -> str:
    text = "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
    return text.replace(" ", NARROW)


def _add_costs(page: Page, results: Sequence[PresetResults], colors: dict[str, str]) -> None:
    panels = []
    for cost in PANELS:
        points = [
            CostPoint(found.name, value, found.mean.rate, found.mean.interval, colors[found.name])
            for found in results
            if (value := cost.value(found.costs))
        ]
        if points:
            ticks = [
                (tick, cost.text(tick)) for tick in axis_ticks([p.cost for p in points], cost.steps)
            ]
            panels.append(cost_panel(cost.title, points, ticks))
    if panels:
        page.heading("Success against cost")
        page.markup(color_legend(list(colors.items())))
        page.markup(f'<div class="panels">{"".join(panels)}</div>')


def _add_acting(page: Page, results: Sequence[PresetResults]) -> None:
    """What an episode takes, beside success, where an evaluation tells more than its steps."""
    costs = (STEPS, *OF_ACTING)
    if not any(cost.value(found.costs) is not None for cost in OF_ACTING for found in results):
        return
    page.heading("What an episode takes")
    header = ["preset", "success", *(cost.title.removesuffix(PER_EPISODE) for cost in costs)]
    rows = [
        [found.name, percent(found.mean.rate), *(_cost(cost, found.costs) for cost in costs)]
        for found in results
    ]
    page.table(header, rows)
    page.text(ACTING_NOTE)
