"""Configuration: frozen dataclasses (schema) and their yaml/opts loader (the only user of yacs)."""
