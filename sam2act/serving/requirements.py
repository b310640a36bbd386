"""Whether the packages of a server are there; this module needs none of them."""

from __future__ import annotations

from importlib.util import find_spec

from sam2act.core.errors import ConfigError

PACKAGES = ("aiohttp", "msgpack")
REMEDY = 'pip install "sam2act[serve]"'


def require_packages() -> None:
    """Make sure that a server can run here.

    Raises:
        ConfigError: a package is not installed.
    """
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        raise ConfigError(f"serve: {', '.join(absent)} is not installed; {REMEDY}")
