"""Install the wheel with each extra into an environment of its own: ``pip check``, import its packages, state its size.

    python tools/check_extras.py [EXTRA ...] [--out benchmarks/results/extras.json] [--find-links FOLDER]

Needs uv (``pip install uv``), whose cache makes an environment in seconds, and a package index. An extra that cannot be
installed with ``constraints.txt`` is installed without it, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from check_wheel import build

ROOT = Path(__file__).parents[1]

# Runs in the new environment: imports what the packages of the extra bring, those that it names and no others.
IMPORT = """
import importlib.metadata as metadata, re, sys, warnings
from importlib import import_module
warnings.simplefilter("ignore")
extra = sys.argv[1]
named = [line for line in metadata.requires("segnet") if re.search(rf'extra == ["\\']{extra}["\\']', line)]
names = {re.match(r"[\\w.-]+", line)[0].lower().replace("_", "-") for line in named}
modules = sorted(
    module
    for module, owners in metadata.packages_distributions().items()
    if names & {owner.lower().replace("_", "-") for owner in owners}
    and module.isidentifier() and not module.startswith("_") and "__" not in module
)
for module in modules:
    import_module(module)
import segnet.cli.main
print(" ".join(modules))
"""


def main() -> None:
    extras = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", default=extras)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "extras.json")
    parser.add_argument("--find-links", help="folder of wheels beside the package index")
    arguments = parser.parse_args()
    rows = json.loads(arguments.out.read_text())["extras"] if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        wheel = build(Path(name))
        for extra in arguments.extras:
            with tempfile.TemporaryDirectory() as folder:
                rows[extra] = check(wheel, extra, Path(folder) / "env", arguments.find_links)
            print(extra, json.dumps(rows[extra]), flush=True)
            report = {"python": platform.python_version(), "system": platform.platform(), "extras": rows}
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(any(row["fault"] for row in rows.values()))


def check(wheel: Path, extra: str, env: Path, links: str | None) -> dict[str, object]:
    run("uv", "venv", "--quiet", "--seed", "--python", sys.executable, env)
    python = env / "bin" / "python" if sys.platform != "win32" else env / "Scripts" / "python.exe"
    install = ["uv", "pip", "install", "--quiet", "--python", python, *(["--find-links", links] if links else [])]
    words, before = f"segnet[{extra}] @ {wheel.as_uri()}", megabytes(env)
    fault = run(*install, "-c", ROOT / "constraints.txt", words)
    constrained = not fault
    fault = fault and run(*install, words)
    fault = fault or run(python, "-m", "pip", "check")
    fault = fault or run(python, "-c", IMPORT, extra, cwd=env)
    return {"megabytes": round(megabytes(env) - before), "constrained": constrained, "fault": fault}


def run(*words: object, cwd: Path | None = None) -> str:
    """Empty, or the end of what a failing command said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, cwd=cwd)
    return (done.stdout + done.stderr)[-600:].strip() if done.returncode else ""


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
