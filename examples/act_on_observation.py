"""Act on one observation of a robot with two cameras; no simulator, no download.

python examples/act_on_observation.py [CHECKPOINT]
"""

import sys

import numpy as np
import torch

from sam2act.config.load import load_experiment, load_network
from sam2act.core.types import Observation, proprioception
from sam2act.language.text_encoder import build_text_encoder
from sam2act.policies.checkpoint import build_policy
from sam2act.policies.session import PolicySession

experiment = load_experiment("configs/tiny.yaml", "cameras front,wrist")
network = load_network("configs/mvt/tiny.yaml")
encoder = build_text_encoder(experiment.language, network.lang_len, network.lang_dim)
if len(sys.argv) > 1:
    policy = PolicySession.from_checkpoint(sys.argv[1], device="cpu", text_encoder=encoder)
else:  # with random weights
    policy = PolicySession(build_policy(experiment, network), text_encoder=encoder)

# One environment, two cameras 1.2 m above the table that look straight down at it.
side, focal = policy.spec.image_size, 150.0
pixels = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]])
camera = np.array([[0, -1, 0, 0.3], [-1, 0, 0, 0], [0, 0, -1, 2.0], [0, 0, 0, 1.0]])
observation = Observation(
    rgb=torch.randint(256, (1, 2, side, side, 3), dtype=torch.uint8),
    depth=torch.full((1, 2, side, side), 1.2) - 0.1 * torch.rand(1, 2, side, side),
    intrinsics=torch.from_numpy(pixels).repeat(1, 2, 1, 1),
    extrinsics=torch.from_numpy(camera).repeat(1, 2, 1, 1),
    proprioception=torch.from_numpy(proprioception(1.0, [0.04, 0.04], time_index=0))[None],
)
policy.reset()
pose = policy.act(observation, ["open the drawer"]).values[0, 0]
print("position", pose[:3].tolist(), "quaternion", pose[3:7].tolist(), "open", bool(pose[7]))
