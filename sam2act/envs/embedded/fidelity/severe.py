"""What could turn a conclusion about a task round, and the facts that show how it stands."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

from sam2act.envs.embedded.fidelity.findings import DEVIATES, MATCHED, TaskFindings


@dataclass(frozen=True)
class Row:
    """One such difference.

    Attributes:
        task: name of the task.
        published: how it is there.
        facts: patterns of ids of the facts that say so here.
    """

    task: str
    published: str
    facts: tuple[str, ...]

    def matching(self, findings: TaskFindings) -> list[str]:
        """Ids of the findings that it is about, those without state left out."""
        found = [item.fact for item in findings.all_findings()]
        return [
            fact
            for fact in found
            if any(fnmatch.fnmatchcase(fact, pattern) for pattern in self.facts)
            and findings.state(fact) in (MATCHED, DEVIATES)
        ]

    def here(self, findings: Mapping[str, TaskFindings]) -> str:
        """How it stands here: as published, with the number of facts that show it, or why not."""
        of_task = findings.get(self.task)
        if of_task is None:
            return "not measured"
        if not of_task.known:
            return "scene not known"
        facts = self.matching(of_task)
        deviating = [fact for fact in facts if of_task.state(fact) == DEVIATES]
        if not deviating:
            count = f"{len(facts)} fact" + "s" * (len(facts) != 1)
            return f"as published ({count})" if facts else "not built from the facts"
        reasons = {of_task.reason(fact) or "no reason given": fact for fact in deviating}
        told = " ".join(f"{fact}: {reason}" for reason, fact in reasons.items())
        return f"{len(facts) - len(deviating)} of {len(facts)} facts as published. {told}"


ROWS = (
    Row("reopen_drawer", "the chest at 0.7 of its size, handles 8.4 cm apart",
        ("drawer_*.size", "drawer_*.pose", "waypoint_anchor_*.pose", "waypoint*.pose")),
    Row("reopen_drawer", "opening other drawers, too, does not hurt", ("probe.other_drawers",)),
    Row("put_block_back", "the block may lie 9 cm off the centre and 6.6 cm off its patch",
        ("probe.tolerance", "success*.volume", "block.size")),
    Row("insert_onto_square_peg", "2.5 mm of clearance per side; the ring is held at its middle",
        ("probe.clearance", "square_ring.*", "pillar*.size", "waypoint*.pose")),
    Row("light_bulb_in", "a lamp 0.33 m tall, the socket at its top, a turn of 166 degrees",
        ("lamp_*", "success.*", "waypoint*.pose")),
    Row("place_cups", "a tree with spokes tilted by 20 degrees; tilted hand; named mugs",
        ("place_cups_holder_*", "success_detector*", "waypoint*.pose", "mug*.pose", "success")),
    Row("place_wine_at_rack_location", "middle, left, right; the bottle is laid into a rack",
        ("index", "instruction", "rack*.pose", "success_*", "waypoint*.pose", "success")),
    Row("push_buttons", "the first colour is always maroon, the second nearly always green",
        ("instruction", "variations")),
    Row("push_buttons", "plates keep their colour when pressed", ("probe.plates_keep_color",)),
    Row("put_money_in_safe", "the money lies on top of the safe and is grasped with a tilted hand",
        ("dollar_stack.pose", "dollar_stack_boundary.pose", "safe_body.*", "waypoint*.pose")),
    Row("reach_and_drag", "a straight stick pushes the cube to the one target in that direction",
        ("stick.*", "cube.*", "target0.*", "distractor*.pose", "success*", "waypoint*.pose")),
    Row("slide_block_to_color_target", "every colour has its side",
        ("target*.pose", "target*.color", "success*.volume", "block.size", "base.yaw")),
    Row("sweep_to_dustpan_of_size", "the tall pan at -y, the short one at +y, hardly any turn",
        ("dustpan_*.pose", "Dustpan_*.pose", "base.yaw", "base.position", "waypoint*.pose")),
    Row("turn_tap", "the handle must turn by 1.57 rad", ()),
)  # fmt: skip
