"""Say what is installed, what it enables and how to get the rest; which policies, simulators,
sources and other components there are, plug-ins included, and what each of them lacks."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sam2act.cli.arguments import ArgumentParser
from sam2act.cli.components import examine_components, examine_plugins
from sam2act.cli.diagnosis import PACKAGES, Finding, examine, examine_system
from sam2act.cli.status import DONE, USER_ERROR, run_command


def core_complete(findings: Sequence[Finding]) -> bool:
    """Whether training and inference can run at all."""
    return all(finding.state == "ok" for finding in findings if finding.core)


def as_table(findings: Sequence[Finding]) -> str:
    """The findings as aligned text columns."""
    head = ("name", "state", "version or detail", "enables", "how to get it")
    return _aligned(head, [(f.name, f.state, f.detail, f.enables, f.remedy) for f in findings])


def as_tables(components: Mapping[str, Sequence[Finding]]) -> str:
    """One table per kind of component."""
    return "\n\n".join(
        _aligned((kind, "state", "where it is, or what it lacks", "how to get that"), rows)
        for kind, findings in components.items()
        if (rows := [(f.name, f.state, f.detail, f.remedy) for f in findings])
    )


def _aligned(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> str:
    rows = [head, *body]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report; 0 if everything that the core needs is there, else 2."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(argv)
    return run_command(lambda: _report(options))


def _report(options: argparse.Namespace) -> int:
    findings = examine_system(os.environ) + [examine(package) for package in PACKAGES]
    complete = core_complete(findings)
    components = {"plug-ins": examine_plugins(), **examine_components(findings)}
    if options.json:
        report = {
            "complete": complete,
            "findings": [asdict(finding) for finding in findings],
            "components": {kind: list(map(asdict, found)) for kind, found in components.items()},
        }
        print(json.dumps(report, indent=2))
    else:
        print(f"{as_table(findings)}\n\n{as_tables(components)}")
        print("\nThe core is complete." if complete else "\nThe core is incomplete: see above.")
    return DONE if complete else USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
