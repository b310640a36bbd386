"""The built-in simulator: MuJoCo physics, a ray-cast RGB-D camera, a Panda made of primitives."""
