"""What an upload that tus put together from parts is found by, when its last request is repeated."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade():
    op.execute(
        """
        CREATE INDEX uploads_final ON uploads (user_id, concat, created_at)
        WHERE state = 'finished' AND concat IS NOT NULL
        """
    )
