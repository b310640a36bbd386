"""Draws that depend on seed and step alone."""

from __future__ import annotations

import torch

from sam2act.training.seeding import seed_step, step_generator, step_seed


def test_seeds_are_stable_distinct_and_fit_63_bits() -> None:
    seeds = [
        step_seed(seed, step, stream)
        for seed in (-1, 0, 1)
        for step in range(50)
        for stream in ("a", "b")
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= value < 2**63 for value in seeds)
    # A stored value: a change of the rule would silently change every resumed run.
    assert step_seed(0, 0, "batch") == 6215041553690991253


def test_global_draws_repeat_per_step_and_differ_between_ranks() -> None:
    draws = {}
    for step, rank in ((3, 0), (4, 0), (3, 1), (3, 0)):
        seed_step(7, step, rank)
        value = torch.rand(4)
        if (step, rank) in draws:
            assert torch.equal(draws[step, rank], value)
        draws[step, rank] = value
    assert not torch.equal(draws[3, 0], draws[4, 0])
    assert not torch.equal(draws[3, 0], draws[3, 1])


def test_step_generator_is_separate_from_the_global_one() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = torch.rand(3, generator=step_generator(1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, torch.rand(3, generator=step_generator(1, 2)))
    assert not torch.equal(first, torch.rand(3, generator=step_generator(1, 2, "validation")))
