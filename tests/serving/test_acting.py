"""Who stands between a policy and its sessions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sam2act.core.types import ActionChunk, Frame, Instruction, Observation, Session
from sam2act.serving.acting import Actor, Answer, Turn
from tests.serving.small_policies import HORIZON, SIDE, remembering_session


class Doubled:
    """A session whose actions are twice those of another one."""

    def __init__(self, session: Session) -> None:
        self.session, self.spec = session, session.spec
        self.began: list[int] = []

    def reset(self, env_ids: Sequence[int] | None = None) -> None:
        self.began += env_ids or ()
        self.session.reset(env_ids)

    def act(
        self,
        observation: Observation,
        language: Instruction,
        env_ids: Sequence[int] | None = None,
    ) -> ActionChunk:
        chunk = self.session.act(observation, language, env_ids)
        return dataclasses.replace(chunk, values=2 * chunk.values)


def test_all_that_sessions_get_is_watched() -> None:
    """Single actions and whole chunks; every episode begins for the one who watches, too."""
    watching: list[Doubled] = []

    def watch(session: Session) -> Session:
        watching.append(Doubled(session))
        return watching[-1]

    plain = Actor(remembering_session(), "open_loop(2)")
    watched = Actor(remembering_session(), "open_loop(2)", watch)
    frame = Frame(rgb={"front": np.full((SIDE, SIDE, 3), 30, np.uint8)}, state={})
    for step, chunk in enumerate((False, True)):
        turn = Turn(3, frame, "", step, begins=step == 0, chunk=chunk)
        (one,), (other,) = plain.act([turn]), watched.act([turn])
        assert isinstance(one, Answer) and isinstance(other, Answer)
        assert one.actions.shape == (HORIZON if chunk else 1, 7)
        np.testing.assert_allclose(other.actions, 2 * one.actions)
    assert [found.began for found in watching] == [[3], [3]]
