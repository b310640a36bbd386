"""RLBench in CoppeliaSim."""
