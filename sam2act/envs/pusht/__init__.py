"""PushT: push a T-shaped block onto its target in the plane, by the package gym-pusht."""
