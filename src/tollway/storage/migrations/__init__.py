"""How an older storage becomes a current one: Alembic's scripts, one file a step in `versions/`, run by the program
itself.

A step is numbered, the next one higher; `HEAD` is the last. Alembic is imported only when there is something to do.
"""

from __future__ import annotations

from pathlib import Path

from tollway.errors import StorageError

HEAD = "0002"


def upgrade(url: str, *, to: str = HEAD) -> None:
    """Brings the database at a SQLAlchemy URL (of a synchronous driver) to a revision. Blocks; raises StorageError."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    except (SQLAlchemyError, CommandError) as error:
        raise StorageError(f"The storage could not be brought up to date: {error}") from error
    finally:
        engine.dispose()
