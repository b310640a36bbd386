"""A baseline that sees the state of the world, not pictures, and denoises chunks of actions."""
