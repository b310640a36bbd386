"""Policy: joins geometry, rendering and a network into act and loss."""
