"""What failed jobs are counted by; the others have such an index already."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade():
    op.execute("CREATE INDEX jobs_failed ON jobs (kind) WHERE state = 'failed'")
