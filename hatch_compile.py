"""Compiles the modules that every call passes, with mypyc and the machine's C compiler.

    src/tollway/gateway.py, ... --mypyc, cc--> build/compiled/cpython-311/tollway/gateway.cpython-311-x86_64-linux-gnu.so, ...

    python hatch_compile.py      compiles what is not compiled yet (`make compiled`); an editable checkout uses it from then on
    TOLLWAY_COMPILE=1 uv build   makes a wheel of this platform with what was compiled; without the word, a wheel for everywhere

The Python is what is true: it runs where nothing was compiled, and whatever goes wrong here is said in a line and stops no build.
It needs mypy, setuptools and what Tollway needs at run time, because types are read from there; and a C compiler: the one that `CC`
names, `cc`, `gcc` or `clang`, else the PyPI package `ziglang`, where it is installed.

What a compiled module must not do is said in `docs/performance.md`; `check` below finds what mypyc would pass over in silence.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "src"
#: In the order of a call's life, and what these inherit from each other. Classes of one module know those of another.
MODULES = [
    f"tollway/{path}.py"
    for path in (
        "calls",
        "outbox",
        "downstream/line",
        "dispatch",
        "gateway",
        "snapshot",
        *(f"policies/{name}" for name in ("__init__", "report", "authenticate", "read", "allow_model", "limit_rate")),
        *(f"policies/{name}" for name in ("fetch_media", "hold_budget")),
        *(f"operations/{name}" for name in ("__init__", "chat", "completions", "responses", "generate")),
        *(f"operations/{name}" for name in ("count_tokens", "pass_through", "embeddings", "images", "audio")),
        *(f"operations/{name}" for name in ("moderations", "rerank")),
        "routing/choice",
        "ledger/budgets",
        "ledger/leases",
        "ledger/pace",
        "ledger/ledger",
        "ledger/journal",
        "providers/following",
        "upstream/wire",
        "upstream/connection",
        "upstream/client",
        "exporters/console",
    )
]
COMPILERS = ("cc", "gcc", "clang")
COMPILE_S_MAX = 900
LEARN_S_MAX = 180
#: GCC's words: count what is done; use what was counted, and be fair to what was not done then.
LEARNS = "-fprofile-generate -fprofile-update=atomic"
LEARNED = "-fprofile-use -fprofile-partial-training -fprofile-correction -Wno-missing-profile"
#: Of the environment that the checkout is installed in: its gateway is the one that learns.
LEARNERS_PYTHON = ROOT / ".venv" / "bin" / "python"
STRUCTS = ("Struct", "msgspec.Struct", "Value", "HashedValue")
#: Bases of classes that mypyc leaves to Python.
NOT_NATIVE = {*STRUCTS, "Protocol", "Exception", "NamedTuple"}
#: Lenient: the types are held by `make check`; here only what mypyc itself cannot do may stop it.
MYPY = "[mypy]\npython_version = {}.{}\nfollow_imports = silent\nignore_missing_imports = true\n"


class CompileFailed(Exception):
    """Says what did not work, and the end of what the tool said."""


def compile_all(*, again: bool = False) -> bool:
    """Compiles what is not compiled of these sources; returns whether there was anything to do. Raises CompileFailed or OSError."""
    from_checkout = _compiled_module()
    folder, stamp = from_checkout.folder_of(ROOT), from_checkout.stamp_of(SOURCE, MODULES)
    if not again and is_compiled(folder, stamp):
        return False
    if problems := check():
        raise CompileFailed("\n".join(problems))
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(prefix="tollway-compile-") as name:
        work = Path(name)
        shutil.copytree(SOURCE / "tollway", work / "tollway", ignore=shutil.ignore_patterns("__pycache__", "built"))
        (work / "mypy.ini").write_text(MYPY.format(*sys.version_info[:2]))
        if can_learn():
            _put_in_place(_made_in(work, compiler, LEARNS), folder, stamp)
            try:
                learn()
                _put_in_place(_made_in(work, compiler, LEARNED), folder, stamp)
                return True
            except (CompileFailed, OSError, subprocess.TimeoutExpired) as problem:
                print(f"What calls do most was not learnt: {problem}", file=sys.stderr)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)  # what counts its own steps is to serve nobody
                raise
            shutil.rmtree(folder, ignore_errors=True)
        _put_in_place(_made_in(work, compiler, ""), folder, stamp)
    return True


def can_learn() -> bool:
    """Whether the compiler can be shown a gateway at work: which branches are taken, and what best lies side by side, is half of
    what compiling gains. GCC does so here, in a checkout that is installed.
    """
    if os.environ.get("TOLLWAY_LEARN") == "0" or not (
        LEARNERS_PYTHON.exists() and (ROOT / "bench" / "bench.py").exists()
    ):
        return False
    compiler = shutil.which(os.environ.get("CC", "") or "cc") or shutil.which("gcc")
    if compiler is None or not Path("/proc/self/schedstat").exists():
        return False
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    return "Free Software Foundation" in said


def learn() -> None:
    """Lets the gateway answer the benchmark's calls; what was counted is written as it ends. Raises CompileFailed."""
    command = [str(LEARNERS_PYTHON), str(ROOT / "bench" / "bench.py"), "--targets", "tollway", "--rounds", "2"]
    environment = {name: value for name, value in os.environ.items() if name not in ("TOLLWAY_COMPILED", "PYTHONPATH")}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LEARN_S_MAX, check=False
    )
    if done.returncode:
        raise CompileFailed((done.stdout + done.stderr)[-1000:])


def _made_in(work: Path, compiler: dict[str, str], flags: str) -> Path:
    """Compiles in a folder and returns where what came of it lies. Raises CompileFailed."""
    shutil.rmtree(work / "made", ignore_errors=True)
    for path in work.rglob("*.o"):
        path.unlink()
    environment = {**os.environ, "TOLLWAY_COMPILED": "0", "PYTHONPATH": "", **compiler}
    if flags:
        environment |= {name: f"{os.environ.get(name, '')} {flags}" for name in ("CFLAGS", "LDFLAGS")}
    command = [sys.executable, str(Path(__file__).resolve()), "--in", str(work)]
    done = subprocess.run(
        command, env=environment, cwd=work, capture_output=True, text=True, timeout=COMPILE_S_MAX, check=False
    )
    if done.returncode:
        raise CompileFailed((done.stdout + done.stderr)[-3000:])
    return work / "made"


def _put_in_place(made: Path, folder: Path, stamp: str) -> None:
    found = [path for path in made.rglob("*") if path.suffix in (".so", ".pyd")]
    if len(found) != len(MODULES) + 1:
        raise CompileFailed(f"{len(found)} modules came of {len(MODULES)}, and what they share.")
    (made / _compiled_module().STAMP).write_text(stamp)
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.copytree(made, fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def is_compiled(folder: Path, stamp: str) -> bool:
    with contextlib.suppress(OSError):
        return bool((folder / _compiled_module().STAMP).read_text() == stamp)
    return False


def put_into_wheel(build_data: dict[str, object]) -> None:
    """Adds what is compiled to a wheel. Raises CompileFailed or OSError."""
    compile_all()
    folder = _compiled_module().folder_of(ROOT)
    files = [path for path in folder.rglob("*") if path.suffix in (".so", ".pyd")]
    included = build_data["force_include"]
    assert isinstance(included, dict)
    included.update({str(path): path.relative_to(folder).as_posix() for path in files})
    build_data["pure_python"] = False
    build_data["infer_tag"] = True


def check() -> list[str]:
    """What mypyc would pass over in silence. Of a struct that is defined in a compiled module nothing is left of its options,
    unless its base has them, and little of its types.
    """
    problems = []
    for path in MODULES:
        tree = ast.parse((SOURCE / path).read_text())
        structs = [
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in STRUCTS for base in node.bases)
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.keywords:
                bases = {ast.unparse(base) for base in node.bases}
                options = {keyword.arg for keyword in node.keywords}
                if bases & {"Struct", "msgspec.Struct"} or not options <= {"frozen"}:
                    problems.append(
                        f"{path}:{node.lineno}: {node.name} would lose its options ({', '.join(map(str, options))}): a struct of a "
                        "compiled module takes them from a base in tollway.values, or stands in a module that is not compiled."
                    )
            elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                "Decoder",
                "decode",
                "convert",
            ):
                said = " ".join(ast.unparse(part) for part in (*node.args, *(word.value for word in node.keywords)))
                problems += [
                    f"{path}:{node.lineno}: {name} cannot be decoded where it is compiled: it must stand in another module."
                    for name in structs
                    if re.search(rf"\b{name}\b", said)
                ]
    return problems + _heirs()


def _heirs() -> list[str]:
    """Classes that are not compiled and inherit from one that is: Python refuses them when they are first used."""
    compiled: dict[str, set[str]] = {}
    for path in MODULES:
        named = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        compiled[named] = {
            node.name
            for node in ast.parse((SOURCE / path).read_text()).body
            if isinstance(node, ast.ClassDef) and not {ast.unparse(base) for base in node.bases} & NOT_NATIVE
        }
    problems = []
    for file in sorted((SOURCE / "tollway").rglob("*.py")):
        path = file.relative_to(SOURCE).as_posix()
        if path in MODULES:
            continue
        tree = ast.parse(file.read_text())
        taken = {
            name.asname or name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in compiled
            for name in node.names
            if name.name in compiled[node.module]
        }
        problems += [
            f"{path}:{node.lineno}: {node.name} is not compiled and inherits from {ast.unparse(base)}, which is."
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if ast.unparse(base) in taken
        ]
    return problems


def find_compiler() -> dict[str, str]:
    """What to put into the environment. Raises CompileFailed."""
    if os.environ.get("CC") or os.name == "nt" or any(map(shutil.which, COMPILERS)):
        return {}
    if importlib.util.find_spec("ziglang") is not None:
        zig = f"{sys.executable} -m ziglang"
        return {"CC": f"{zig} cc", "CXX": f"{zig} c++", "LDSHARED": f"{zig} cc -shared", "AR": f"{zig} ar"}
    raise CompileFailed("There is no C compiler: install gcc or clang, or the PyPI package ziglang.")


def _compiled_module() -> Any:
    """`tollway.compiled`, without importing Tollway."""
    spec = importlib.util.spec_from_file_location("tollway_compiled", SOURCE / "tollway" / "compiled.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile_in(work: Path) -> None:
    """In a process and a folder of its own: setuptools and mypyc leave much behind in both."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    extensions = mypycify(["--config-file=mypy.ini", *MODULES], group_name="tollway", opt_level="3")
    command = build_ext(Distribution({"name": "tollway", "ext_modules": extensions}))
    command.build_lib = str(work / "made")
    command.build_temp = str(work / "objects")
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        _compile_in(Path(sys.argv[2]))
        sys.exit()
    try:
        print("Compiled." if compile_all(again="--again" in sys.argv) else "Compiled already.")
    except (CompileFailed, OSError, subprocess.TimeoutExpired) as problem:
        sys.exit(f"Nothing was compiled, calls run as Python. {problem}")
