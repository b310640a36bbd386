"""Pure functions on tensors: rotations, cameras, scene bounds, augmentation."""
