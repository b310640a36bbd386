"""Memory of SAM2Act+: attention to earlier keyframes, their encoder, and the bank that holds them.

Attribute names are those of the released weights.
"""
