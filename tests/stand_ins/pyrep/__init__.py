"""Stand-in for PyRep; `pyrep.world` is its simulator and does not exist in the real one."""
