"""What the user can mend: errors whose message names the cause and the remedy in one line.

Entry points print them without a traceback and end with status 2.
"""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user can mend; the message names file or key, the value and the remedy."""


class ConfigError(UserError):
    """A configuration value is unknown, malformed or impossible; the message names the remedy."""


class MissingSimulatorError(UserError):
    """A simulator is not installed or cannot start; the message says how to get it."""


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError(message)` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def require_positive(config: object, *keys: str) -> None:
    """Raise `ConfigError` unless each of these whole numbers of `config` is at least 1."""
    for key in keys:
        require(getattr(config, key) >= 1, f"{key} must be at least 1")


def require_choice(key: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`."""
    require(value in choices, f"{key}: {value!r} is not one of {', '.join(map(repr, choices))}")
