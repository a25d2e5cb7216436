"""Where a gateway keeps its things."""

from __future__ import annotations

from pathlib import Path

from tollway.config.settings import Config

DATA_FILE = "tollway.db"
MASTER_KEY_FILE = "tollway-master-key"
BODIES_FOLDER = "bodies"


def data_folder(config: Config) -> Path:
    """Where everything is kept: what the configuration says, else beside the configuration file, else here."""
    if config.storage.data_dir:
        return Path(config.storage.data_dir).expanduser()
    return Path(config.config_path).resolve().parent if config.config_path else Path.cwd()


def bodies_path(config: Config) -> Path | None:
    """Where request and reply bodies are kept, or None: always without a configuration file, else when it says so."""
    wanted = config.logs.store_bodies or config.config_path is None
    return data_folder(config) / BODIES_FOLDER if wanted and not config.logs.turn_off_message_logging else None


def master_key_path(config: Config) -> Path:
    """Where the key that the gateway made for itself is kept."""
    return data_folder(config) / MASTER_KEY_FILE
