"""How the command says no: one line for the person, one exit code for the script."""

from __future__ import annotations

#: Exit codes. 2 is a mistake on the command line or in the configuration; 3 is LiteLLM's code for a refused master key.
FAILED = 1
MISUSED = 2
MASTER_KEY_REFUSED = 3


class Refused(Exception):
    """The command cannot go on. `str()` is one line that says why and what to do next; `exit_code` is for the shell."""

    def __init__(self, sentence: str, *, exit_code: int = FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
