"""Software bill of materials: this package and what it brings, from the metadata of what is installed.

    python tools/make_sbom.py [--extra train ...] [--out sbom.json]

CycloneDX 1.5 as JSON, made by the standard library's importlib.metadata alone. Without ``--extra`` it holds the base
dependencies.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = "segnet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", nargs="+", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = json.dumps(make_sbom(arguments.extra), indent=1) + "\n"
    if arguments.out is None:
        print(text, end="")
    else:
        arguments.out.write_text(text, encoding="utf-8")


def make_sbom(extras: list[str]) -> dict[str, Any]:
    """The bill of this package with the dependencies of some extras."""
    packages = {normalized(package.name): package for package in installed(ROOT, frozenset(extras))}
    components = {name: describe(package) for name, package in sorted(packages.items())}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": components.pop(ROOT)},
        "components": list(components.values()),
    }


def installed(name: str, extras: frozenset[str]) -> list[Distribution]:
    """The package and all that it requires here. What is optional and not installed is left out."""
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    waiting = [(normalized(name), extras)]
    for each in waiting:  # it grows
        if each in found:
            continue
        try:
            found[each] = distribution(each[0])
        except PackageNotFoundError:
            continue
        waiting += [(normalized(one.name), frozenset(one.extras)) for one in requirements(found[each], each[1])]
    return list(found.values())


def requirements(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in package.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield requirement


def describe(package: Distribution) -> dict[str, Any]:
    about = package.metadata
    license_ = about.get("License-Expression") or about.get("License") or from_classifiers(about.get_all("Classifier"))
    first_line = (license_ or "unknown").strip().splitlines()[0][:120]
    return {
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:pypi/{normalized(package.name)}@{package.version}",
        "licenses": [{"license": {"name": first_line}}],
    }


def from_classifiers(classifiers: list[str] | None) -> str:
    names = [text.rpartition(" :: ")[2] for text in classifiers or [] if text.startswith("License")]
    return ", ".join(names)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
