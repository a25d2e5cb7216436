"""config.yaml and environment in, one frozen Config out: LiteLLM's words end here, and every mistake is told at once.

Within the room imports go down this list: `reading` > `environment` > `models` > `sections` > `values`, `documents` >
`yaml_text` > `nodes` > `findings` > `known`, `durations`, `settings`; `showing` and `master_keys` stand beside it.
"""

from tollway.config.durations import Duration, expiry, next_reset, parse_duration
from tollway.config.master_keys import is_weak_master_key
from tollway.config.reading import load, single_model
from tollway.config.settings import Config
from tollway.config.showing import effective

__all__ = [
    "Config",
    "Duration",
    "effective",
    "expiry",
    "is_weak_master_key",
    "load",
    "next_reset",
    "parse_duration",
    "single_model",
]
