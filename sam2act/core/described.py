"""Components written as text: a name, or a name with parameters such as `open_loop(k=4)`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from sam2act.core.errors import ConfigError
from sam2act.core.registry import Registry


class Description(NamedTuple):
    """A name and its parameters."""

    name: str
    values: list[Any]  # by position
    options: dict[str, Any]  # by name


def read_description(kind: str, text: str, example: str) -> Description:
    """The name and the parameters that `text` states.

    Args:
        kind: what messages call the choice.
        text: such as `single`, `resize(96)` or `open_loop(k=4)`.
        example: shown where the text is malformed.

    Raises:
        ConfigError: the text has another form.
    """
    wrong = ConfigError(f"{kind}: {text!r} is no name with parameters; write it like {example}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        values = [ast.literal_eval(value) for value in call.args]
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise wrong from error
    if not isinstance(call.func, ast.Name):
        raise wrong
    return Description(call.func.id, values, options)


def build_described(registry: Registry, text: str, first: Any, *, example: str) -> Any:
    """The component of `registry` that `text` describes.

    Args:
        registry: where the name is looked up.
        text: see `read_description`.
        first: first argument of the component, which the text does not give.
        example: shown where the text is malformed.

    Raises:
        ConfigError: there is none of that name, or parameters are unknown, missing or impossible.
    """
    check_described(registry, text, example=example)
    name, values, options = read_description(registry.kind, text, example)
    return registry.get(name)(first, *values, **options)


def check_described(registry: Registry, text: str, *, example: str) -> None:
    """Make sure that `text` names a component of `registry` and fits its parameters.

    Raises:
        ConfigError: it does not; that values are possible shows only when the component is built.
    """
    name, values, options = read_description(registry.kind, text, example)
    signature = inspect.signature(registry.get(name))
    try:
        signature.bind(None, *values, **options)
    except TypeError as error:
        known = [
            name if item.default is item.empty else f"{name}={item.default!r}"
            for name, item in list(signature.parameters.items())[1:]
        ]
        raise ConfigError(
            f"{registry.kind}: {text!r}: {error}; parameters: {', '.join(known) or 'none'}"
        ) from error


def check_descriptions(registry: Registry, texts: Sequence[str], *, example: str) -> None:
    """Make sure that every text names a component of `registry`, each at most once.

    Raises:
        ConfigError: one does not.
    """
    names = [read_description(registry.kind, text, example).name for text in texts]
    for name in names:
        registry.check(name)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{registry.kind}: {', '.join(twice)} stands there twice; name it once")


def whole_number(owner: str, key: str, value: object) -> int:
    """`value` if it is a whole number from 1 on.

    Args:
        owner: what the message names first, such as `executor: open_loop`.
        key: the parameter.
        value: to check.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{owner}: {key}={value!r} must be a whole number, at least 1")
    return value
