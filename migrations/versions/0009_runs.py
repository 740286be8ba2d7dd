"""Which run of a job it is, so that one that was queued again is not ended by who ran it before."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade():
    op.execute("ALTER TABLE jobs ADD COLUMN run INTEGER")
