"""SAM2Act: multi-view keyframe policies for robot manipulation.

Importing this package has no side effects and needs torch, numpy, scipy and einops only.
"""

__version__ = "0.1.0"
