"""Holds what `pip install tollway` puts on a machine to its bounds: `python scripts/check_install.py`.

Builds the wheel, installs it into bare environments as people do (plain, and as `tollway[proxy]`), runs the command there,
and counts what came along. Ends with code 1 when there are more packages or more megabytes than allowed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES_MAX = 40
MB_MAX = 80.0
SHOWN = 12

ROOT = Path(__file__).resolve().parent.parent
#: What an environment brings itself.
_NOT_OURS = {"pip", "setuptools", "wheel"}


def main() -> int:
    """Prints both numbers for both installs."""
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    failed = False
    with tempfile.TemporaryDirectory(prefix="tollway-install-") as scratch:
        run(uv, "build", "--quiet", "--wheel", "--out-dir", scratch, str(ROOT))
        (wheel,) = Path(scratch).glob("*.whl")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
        for wanted in (str(wheel), f"{wheel}[proxy]"):
            failed = install(uv, wanted, Path(scratch)) or failed
    return 1 if failed else 0


def install(uv: str, wanted: str, scratch: Path) -> bool:
    """Installs into an environment of its own, shows what it weighs, and says whether that is too much."""
    name = "tollway[proxy]" if wanted.endswith("[proxy]") else "tollway"
    home = scratch / re.sub(r"\W", "", name)
    run(uv, "venv", "--quiet", "--python", sys.executable, str(home))
    python = home / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--python", str(python), wanted)
    # People's machines compile on first import; pip does at install.
    run(str(python), "-m", "compileall", "-q", str(home / "lib"), check=False)
    said = run(str(home / "bin" / "tollway"), "--version")
    (packages,) = home.glob("lib/python*/site-packages")
    sizes = sizes_mb(packages)
    total = sum(sizes.values())
    compiled = sum(file.stat().st_size for file in packages.rglob("*.pyc")) / 1e6
    print(f"\n{name}: {said.strip()}")
    print(f"  {len(sizes)} packages, at most {PACKAGES_MAX}")
    print(f"  {total:.1f} MB, at most {MB_MAX:.0f}; {compiled:.1f} MB of them are compiled by Python itself")
    for package, mb in sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]:
        print(f"  {mb:6.1f} MB  {package}")
    return len(sizes) > PACKAGES_MAX or total > MB_MAX


def sizes_mb(packages: Path) -> dict[str, float]:
    """Megabytes on disk by distribution, compiled files included."""
    sizes: dict[str, float] = {}
    for info in packages.glob("*.dist-info"):
        name = info.name.split("-")[0].lower().replace("_", "-")
        if name in _NOT_OURS:
            continue
        files = {packages / line.split(",")[0] for line in (info / "RECORD").read_text().splitlines()}
        folders = {file.parent for file in files if packages in file.parents and file.parent != packages}
        compiled = {file for folder in folders for file in (folder / "__pycache__").glob("*.pyc")}
        sizes[name] = sum(file.stat().st_size for file in files | compiled if file.is_file()) / 1e6
    return sizes


def run(*command: str, check: bool = True) -> str:
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check)
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
