"""Refuses required dependencies whose licence is not on the list in licences.txt, and writes an SBOM.

    python .ci/licences.py [--sbom FILE]

It reads the metadata of what is installed: the requirements of pyproject.toml and all that they require in turn,
without extras. The SBOM is in the CycloneDX 1.5 JSON format.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# How packages write the licences of the list.
SPELLINGS = {
    "mit license": "MIT",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "nvidia proprietary software": "NVIDIA",
}


def main() -> int:
    """Checks all required packages; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sbom", type=Path, help="Write a CycloneDX document.")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = required(project["dependencies"])
    accepted = [line for line in (ROOT / ".ci" / "licences.txt").read_text().splitlines() if line[:1] not in {"", "#"}]
    refused = refusals(packages, accepted)
    for line in refused:
        sys.stderr.write(f"{line}\n")
    if arguments.sbom:
        arguments.sbom.write_text(json.dumps(sbom(packages), indent=2) + "\n")
    return 1 if refused else 0


def required(requirements: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """The installed distributions that the requirements need, by name, with those that these need in turn."""
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(text), frozenset[str]()) for text in requirements]
    while waiting:
        requirement, extras = waiting.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            sys.exit(f"{name} is required, but not installed; install the project again")
        waiting += [(Requirement(text), key[1]) for text in found[name].requires or []]
    return dict(sorted(found.items()))


def refusals(packages: dict[str, importlib.metadata.Distribution], accepted: list[str]) -> list[str]:
    """One line for each package with a licence that is not accepted."""
    everywhere = {line for line in accepted if ":" not in line}
    alone = [tuple(part.strip() for part in line.split(":", 1)) for line in accepted if ":" in line]
    lines = []
    for name, package in packages.items():
        own = {licence for pattern, licence in alone if fnmatch(name, pattern)}
        licence = licence_of(package)
        if not allowed(licence, everywhere | own):
            fix = "make it optional, or add the licence to .ci/licences.txt"
            lines.append(f"{name} {package.version}: licence {licence or 'unknown'!r} is not accepted; {fix}")
    return lines


def allowed(expression: str, accepted: set[str]) -> bool:
    """Whether a licence expression is accepted: one alternative of `OR`, all parts of `AND`."""
    if not expression:
        return False
    return any(
        all(part.strip("() ") in accepted for part in choice.split(" AND ")) for choice in expression.split(" OR ")
    )


def licence_of(package: importlib.metadata.Distribution) -> str:
    """The licence that the metadata names: its SPDX expression, else its classifiers, else its licence field."""
    metadata = package.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    names = [text.rpartition(" :: ")[2] for text in classifiers if text != "License :: OSI Approved"]
    field = (metadata.get("License") or "").strip().splitlines()[:1]
    if field and len(field[0]) < 40:  # some packages put the text of the licence here
        return spelled(field[0])
    return " AND ".join(spelled(name) for name in names)


def spelled(name: str) -> str:
    """A licence as the list writes it; an expression stays as it is."""
    return SPELLINGS.get(re.sub(r"\s+", " ", name).strip().lower(), name.strip())


def sbom(packages: dict[str, importlib.metadata.Distribution]) -> dict[str, object]:
    """A CycloneDX document of the packages."""
    components = [
        {
            "type": "library",
            "name": name,
            "version": package.version,
            "purl": f"pkg:pypi/{name}@{package.version}",
            "licenses": [{"license": {"name": licence_of(package)}}],
        }
        for name, package in packages.items()
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}


if __name__ == "__main__":
    sys.exit(main())
