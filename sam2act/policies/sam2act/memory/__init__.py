"""The memory of SAM2Act+: bank, encoder and attention."""
