"""Names that the running process may give to blobs before a row knows of them: see ``service/uploads/reserved.py``."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade():
    op.execute("CREATE TABLE reserved_keys (key TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
