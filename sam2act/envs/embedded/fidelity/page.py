"""The page that states the fidelity, in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from sam2act.envs.embedded.fidelity.findings import DEVIATES, MATCHED, UNKNOWN, TaskFindings
from sam2act.envs.embedded.fidelity.recordings import Figures
from sam2act.envs.embedded.fidelity.severe import ROWS

_INTRODUCTION = """# Fidelity of the embedded scenes

What the embedded tasks share with the published RLBench and MemoryBench scenes, fact by fact. The
compiled MuJoCo scenes, as loaded and after {resets} resets each, are compared with facts decoded
from the published scene models: places (2 mm, 1 degree, in the base frame), sizes (2 mm), masses,
colours, what is seen and solid, joints, sensor volumes, waypoints, number and meaning of
variations, first wordings, where the scene and what is put at random come to stand.

Made by `{command}` on {date}. The command ends with
status 1 if a fact deviates without a reason.

**Never compared**: friction (the engines define it differently), textures, and the surface of
meshes, of which only the boxes are decoded. Sentences after the first are this project's own; only
their number is compared. What a task sets at the start of an episode and its conditions of success
are not counted unless the task states that they deviate; the experiments named `probe` look at
what matters most of them."""

_SEVERE = """## What could turn a conclusion round

Differences that would change what can be learned from a task, or what a result means."""


_RECORDINGS = """## Recorded open_drawer

Arm, fingers, base and drawers of `open_drawer` are put where frames of demonstrations recorded in
RLBench had them. RLBench draws with OpenGL, which asks for the middle of a pixel and moves what it
draws away from the camera by half of the steepest change of depth from pixel to pixel; the
comparison does the same to the rendered depth. The waypoints are compared with the tip at the
recorded keyframes, the last one with the nearest recorded tip: the episode that opens the top
drawer passes it and ends above it. There is no recorded overhead camera."""

_PICTURE = """![Rendered open_drawer and where depths agree](open_drawer_agreement.png)

Green: within 1 cm, red: not, blue: seen in one of the two only. `sam2act compare-recordings --data
DIR --output FILE` puts the recorded images beside them."""


def fidelity_page(
    findings: Mapping[str, TaskFindings],
    *,
    command: str,
    date: str,
    resets: int,
    recordings: str = "",
) -> str:
    """The whole page.

    Args:
        findings: by task.
        command: with which it was made.
        date: of the measurement.
        resets: per task.
        recordings: section about recorded demonstrations, or empty.
    """
    parts = [
        _INTRODUCTION.format(resets=resets, command=command, date=date),
        _summary(findings.values()),
        severe_table(findings),
        recordings,
        "## Deviations by task",
        *(task_section(item) for item in findings.values()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(findings: Iterable[TaskFindings]) -> str:
    rows = ["| task | facts | matched | deviating | not compared | matched of compared |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    rows += [summary_row(item) for item in findings]
    return "\n".join(rows)


def summary_row(findings: TaskFindings) -> str:
    """The line of a task in the summary."""
    states = {state: len(findings.of_state(state)) for state in (MATCHED, DEVIATES, UNKNOWN)}
    share = f"{findings.share():.1%}" if findings.known else "scene not known"
    counts = (states[MATCHED], states[DEVIATES], states[UNKNOWN])
    return f"| `{findings.task}` | {sum(counts)} | " + " | ".join(map(str, (*counts, share))) + " |"


def severe_table(findings: Mapping[str, TaskFindings]) -> str:
    """How the severe differences stand now."""
    rows = [f"| `{row.task}` | {row.published} | {row.here(findings)} |" for row in ROWS]
    rows.append("| all | wordings of every instruction | the first is equal, the number of the "
                "others too; their words are our own (not decoded) |")  # fmt: skip
    return "\n".join([_SEVERE, "", "| task | published | here |", "|---|---|---|", *rows])


def task_section(findings: TaskFindings) -> str:
    """The deviations of a task with their reasons."""
    title = f"### {findings.task}"
    if not findings.known:
        title += "\n\nThe scene is not known; objects, places and sensors are this project's own."
    deviating = findings.of_state(DEVIATES)
    if not deviating:
        return f"{title}\n\nNo fact that was compared deviates."
    rows = [f"| `{item.fact}` | {item.detail or '-'} | {findings.reason(item.fact) or '**none**'} |"
            for item in deviating]  # fmt: skip
    return "\n".join([title, "", "| fact | difference | reason |", "|---|---|---|", *rows])


def recordings_section(figures: Figures) -> str:
    """What the comparison with recorded demonstrations gave, with its picture."""
    return "\n\n".join([_RECORDINGS, recordings_table(figures), _PICTURE])


def recordings_table(figures: Figures) -> str:
    """The figures of the comparison with recorded demonstrations."""
    reached = [1e3 * max(state.waypoints.values()) for state in figures.states]
    rows = [
        "| what | recorded and here |",
        "|---|---|",
        f"| objects of the first frame | {1e3 * figures.worst('place'):.1f} mm, "
        f"{np.rad2deg(figures.worst('turn')):.1f} degrees, joints "
        f"{1e3 * figures.worst('joint'):.1f} mm apart at most |",
        f"| handles | {1e3 * figures.worst('handles'):.1f} mm apart at most |",
        "| waypoints and the recorded tip, the farthest of each episode | "
        + ", ".join(f"{far:.1f} mm" for far in reached)
        + " |",
    ]
    for camera, counts in figures.pixels.items():
        rows.append(
            f"| depth of robot and chest, `{camera}` | within 1 cm in {figures.share(camera):.1%} "
            f"of {counts[0]:.0f} pixels (robot alone {figures.robot_share(camera):.1%}); both see "
            f"them in {figures.overlap(camera):.1%} of the pixels where either does |"
        )
    return "\n".join(rows)
