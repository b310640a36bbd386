"""The frame store that training reads."""
