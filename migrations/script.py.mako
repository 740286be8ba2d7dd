"""${message}

A migration works with the previous release still running: add first, use, remove in a later release.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade():
    op.execute("""
    """)
