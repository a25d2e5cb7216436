"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("token", sa.LargeBinary(32), primary_key=True),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("key_alias", sa.Text, unique=True),
        sa.Column("user_id", sa.Text),
        sa.Column("team_id", sa.Text),
        sa.Column("organization_id", sa.Text),
        sa.Column("blocked", sa.Boolean),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("updated_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger),
        sa.Column("max_budget_nano", sa.BigInteger),
        sa.Column("soft_budget_nano", sa.BigInteger),
        sa.Column("budget_duration", sa.Text),
        sa.Column("budget_reset_us", sa.BigInteger),
        sa.Column("period_start_us", sa.BigInteger, nullable=False),
        sa.Column("spend_nano", sa.BigInteger, nullable=False),
        sa.Column("total_spend_nano", sa.BigInteger, nullable=False),
        sa.Column("rpm_limit", sa.BigInteger),
        sa.Column("tpm_limit", sa.BigInteger),
        sa.Column("parallel_max", sa.BigInteger),
        sa.Column("last_active_us", sa.BigInteger),
        sa.Column("fields", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "key_predecessors",
        sa.Column("old", sa.LargeBinary(32), primary_key=True),
        sa.Column("token", sa.LargeBinary(32), nullable=False),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["token"], ["keys.token"], ondelete="CASCADE", onupdate="CASCADE"),
    )
    op.create_index("key_predecessors_by_token", "key_predecessors", ["token"])
    op.create_table(
        "spend_rows",
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("key", sa.LargeBinary(32)),
        sa.Column("user_id", sa.Text),
        sa.Column("team_id", sa.Text),
        sa.Column("end_user", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("request_crc", sa.BigInteger, nullable=False),
        sa.Column("run_no", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.SmallInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
    )
    op.create_index("spend_rows_by_request", "spend_rows", ["run_no", "request_crc"])
    op.create_index(
        "spend_rows_by_time",
        "spend_rows",
        [
            *("started_us", "key", "user_id", "team_id", "end_user", "model"),
            *("cost_nano", "failed", "input_tokens", "output_tokens"),
        ],
    )
    op.create_table(
        "spent",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("spend_nano", sa.BigInteger, nullable=False),
        sa.Column("total_nano", sa.BigInteger, nullable=False),
        sa.Column("period_start_us", sa.BigInteger, nullable=False),
        sa.Column("reset_us", sa.BigInteger),
    )
