"""Events that must come in a given order."""

from __future__ import annotations

import pytest

from sam2act.envs.embedded.kit.buttons import InTurn


@pytest.mark.parametrize(
    ("events", "done", "spoilt"),
    [
        ("aba", True, False),
        ("aabbbaa", True, False),  # what came last may go on
        ("ab", False, False),
        ("", False, False),
        ("b", False, True),
        ("ac", False, True),
        ("aca", False, True),
        ("acba", False, True),  # nothing mends it
        ("abac", False, True),
        ("abab", False, True),
    ],
)
def test_an_event_out_of_turn_spoils_it(events: str, done: bool, spoilt: bool) -> None:
    turn = InTurn("aba")
    for event in events:
        turn.happens(event)
    assert (turn.all_done, turn.spoilt) == (done, spoilt)


def test_what_is_due() -> None:
    turn = InTurn(["a", "b"])
    assert turn.next == "a"
    turn.happens("a")
    assert turn.next == "b"
    turn.happens("b")
    assert turn.next is None
