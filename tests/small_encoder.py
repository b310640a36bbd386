"""Options of the network where the structure of the image encoder matters and not its size."""

from __future__ import annotations

from pathlib import Path

SMALL_ENCODER = f"sam2_config {Path(__file__).with_suffix('.yaml')} upsampler_channels [8,4] "
