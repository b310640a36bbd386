"""What multi-view keyframe policies share: branches, heads, targets, losses."""
