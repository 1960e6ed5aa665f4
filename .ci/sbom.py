"""Writes a software bill of materials (CycloneDX 1.6, JSON) of an environment, and checks it.

    python .ci/sbom.py PYTHON OUT

PYTHON is the interpreter of the environment. Each package has its version and its licence; a package that tells no
licence is an error.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def bill_of(python: Path) -> dict[str, Any]:
    """The bill of an environment.

    Args:
        python: Its interpreter.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--pyproject", ROOT / "pyproject.toml"]
    options = ["--spec-version", "1.6", "--output-reproducible", "--no-validate", "--of", "JSON", "-o", "-"]
    made = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    bill = json.loads(made.stdout)
    told = _metadata(python)
    for part in bill["components"]:
        about = told.get(_canonical(part["name"]), {})
        if not part.get("licenses") and about.get("license"):  # in words of its own, which the tool leaves out
            part["licenses"] = [{"license": {"name": about["license"], "acknowledgement": "declared"}}]
    bill["metadata"]["component"]["version"] = told["tips-med"]["version"]
    return bill


def unlicensed(bill: dict[str, Any]) -> list[str]:
    """The names of packages without a licence."""
    return [part["name"] for part in bill["components"] if not part.get("licenses")]


def fault_of(bill: dict[str, Any]) -> str | None:
    """What is wrong with a bill by the schema of CycloneDX; None if nothing is."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))
    return None if fault is None else str(fault)


def _metadata(python: Path) -> dict[str, dict[str, str]]:
    ask = "import sys, json; print(json.dumps([p for p in sys.path if p]))"
    paths = json.loads(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout)
    found: dict[str, dict[str, str]] = {}
    for one in distributions(path=paths):
        about = one.metadata.json
        licence = " ".join(str(about.get("license", "")).split())
        told = {"version": one.version, "license": licence if len(licence) < 100 else ""}
        found.setdefault(_canonical(str(about["name"])), told)  # the first on the path is the one that is imported
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    """Writes the bill; 1 when a licence is missing or the schema is not kept."""
    python, out = Path(arguments[0]), Path(arguments[1])
    bill = bill_of(python)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    if missing := unlicensed(bill):
        sys.stderr.write(f"no licence is told by: {', '.join(missing)}\n")
        return 1
    if fault := fault_of(bill):
        sys.stderr.write(f"not valid: {fault}\n")
        return 1
    sys.stdout.write(f"{out}: {len(bill['components'])} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
