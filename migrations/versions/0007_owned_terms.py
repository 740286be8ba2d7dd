"""Each term of the full-text index is its owner's, and the index has beginnings of words only, of up to six characters.

Words have the three characters of the owner's mark in front, so beginnings of one to six are prefixes of four to nine,
and marks, which have three, have none. The service indexes all tracks anew when it opens the database.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = [
    "DROP TABLE searched",
    """
    CREATE VIEW searchable AS
    SELECT number, replace(words, ' ', ' ' || substr(marks, 1, 3)) AS words, marks FROM tracks
    """,
    """
    CREATE VIRTUAL TABLE searched USING fts5(
        words, marks,
        content = 'searchable', content_rowid = 'number', columnsize = 0, detail = 'none', tokenize = 'ascii',
        prefix = '4 5 6 7 8 9'
    )
    """,
    "INSERT INTO searched (searched, rank) VALUES ('automerge', 8)",
    "DELETE FROM unsearched",
    "INSERT INTO unsearched (number) SELECT number FROM tracks",
]


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
