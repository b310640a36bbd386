"""Mixtures of data sets with weights, by the names of CogACT's `--vla.data_mix` or written out.

A weight is what a sample of that data set counts beside one of a data set of weight 1: the share of
a data set is proportional to its weight times its number of samples.
"""

from __future__ import annotations

import math

from sam2act.core.errors import ConfigError

Mixture = dict[str, float]  # data set -> weight
_CONVERTED = "_converted_externally_to_rlds"
MIXTURES: dict[str, Mixture] = {
    "custom_finetuning": {"custom_finetuning": 1.0},
    "bridge": {"bridge_orig": 1.0},
    "bridge_rt_1": {"bridge_orig": 1.0, "fractal20220817_data": 1.0},
    "rtx": {
        "fractal20220817_data": 0.54087122203,
        "kuka": 0.8341046294,
        "bridge_orig": 1.0,
        "taco_play": 2.0,
        "jaco_play": 2.0,
        "berkeley_cable_routing": 3.0,
        "roboturk": 1.0,
        "nyu_door_opening_surprising_effectiveness": 5.0,
        "viola": 2.0,
        "berkeley_autolab_ur5": 1.0,
        "toto": 1.0,
    },
    "oxe_magic_soup_plus_minus": {
        "fractal20220817_data": 1.0,
        "kuka": 0.8341046294,
        "bridge_orig": 1.0,
        "taco_play": 2.0,
        "jaco_play": 1.0,
        "berkeley_cable_routing": 1.0,
        "roboturk": 2.0,
        "viola": 2.0,
        "berkeley_autolab_ur5": 2.0,
        "toto": 1.0,
        f"stanford_hydra_dataset{_CONVERTED}": 2.0,
        f"austin_buds_dataset{_CONVERTED}": 1.0,
        f"nyu_franka_play_dataset{_CONVERTED}": 3.0,
        f"furniture_bench_dataset{_CONVERTED}": 0.1,
        f"ucsd_kitchen_dataset{_CONVERTED}": 2.0,
        f"austin_sailor_dataset{_CONVERTED}": 1.0,
        f"austin_sirius_dataset{_CONVERTED}": 1.0,
        f"dlr_edan_shared_control{_CONVERTED}": 1.0,
        f"iamlab_cmu_pickup_insert{_CONVERTED}": 1.0,
        "utaustin_mutex": 1.0,
        "berkeley_fanuc_manipulation": 2.0,
        "cmu_stretch": 1.0,
        "bc_z": 0.2,
        "fmb_dataset": 1.0,
        "dobbe": 0.2,
    },
}


def read_mixture(text: str) -> Mixture:
    """The mixture that `data_mix` means: a name of `MIXTURES`, or `data set:weight, ...`.

    Raises:
        ConfigError: there is no such name, a weight is no positive number, or a data set is named
            twice.
    """
    if text in MIXTURES:
        return dict(MIXTURES[text])
    found: Mixture = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, colon, weight = (part.strip() for part in item.partition(":"))
        if not colon:
            known = ", ".join(MIXTURES)
            raise ConfigError(
                f"data_mix: {item} is no mixture ({known}); write a mixture of your own as "
                "`name:weight, name:weight`"
            )
        if name in found:
            raise ConfigError(f"data_mix: {name} is named twice")
        found[name] = _weight(name, weight)
    if not found:
        raise ConfigError("data_mix: names no data set")
    return found


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ConfigError(f"data_mix: the weight of {name} is {text!r}; give a positive number")
    return weight
