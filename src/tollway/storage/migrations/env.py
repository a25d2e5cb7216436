"""What Alembic runs: the scripts, over the connection that it was given."""

from __future__ import annotations

from alembic import context

from tollway.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
