"""Holds the dashboard's TypeScript to the gateway's own schema: `python scripts/check_ui.py`.

Writes the schema, makes types of it, and lets the compiler look at every page. None of that is kept. Ends with the
compiler's code.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
UI = ROOT / "ui"
STAMP = UI / "node_modules" / ".installed-lock.json"


def main() -> int:
    hook = _loaded(ROOT / "hatch_build.py")
    node, npm = hook.find_node()
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"}
    _loaded(ROOT / "scripts" / "make_ui_schema.py").main()
    lock = (UI / "package-lock.json").read_bytes()
    if not STAMP.exists() or STAMP.read_bytes() != lock:
        subprocess.run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=UI, env=environment, check=True)
        STAMP.write_bytes(lock)
    subprocess.run([*npm, "run", "--silent", "types"], cwd=UI, env=environment, check=True)
    return subprocess.run([*npm, "run", "--silent", "check"], cwd=UI, env=environment, check=False).returncode


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
