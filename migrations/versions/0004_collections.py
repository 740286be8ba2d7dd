"""Collections: ordered playlists of tracks.

``rank`` orders the items of a collection; it has gaps, so that one can be put between two others. ``is_hidden`` says
that the item's track is in the trash: then it is not shown and not counted, and keeps its place. ``track_count``,
``duration_us`` and ``size`` are sums over the items that are shown. ``next_item`` numbers the items of a collection,
whose numbers never come back. ``version`` counts what people change, ``revision`` what the trash changes.

A zip names the CRC-32 of each file before its bytes, so it is kept once it is known.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE collections (
        collection_id TEXT PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users,
        name TEXT NOT NULL COLLATE NOCASE,
        description TEXT NOT NULL,
        track_count INTEGER NOT NULL DEFAULT 0,
        duration_us INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0,
        next_item INTEGER NOT NULL DEFAULT 1,
        version INTEGER NOT NULL DEFAULT 1,
        revision INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX collections_by_name ON collections (user_id, name, collection_id)",
    "CREATE INDEX collections_by_created_at ON collections (user_id, created_at, collection_id)",
    "CREATE INDEX collections_by_updated_at ON collections (user_id, updated_at, collection_id)",
    """
    CREATE TABLE collection_items (
        collection_id TEXT NOT NULL REFERENCES collections ON DELETE CASCADE,
        item_id INTEGER NOT NULL,
        track_id TEXT NOT NULL REFERENCES tracks (track_id) ON DELETE CASCADE,
        rank INTEGER NOT NULL,
        is_hidden INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (collection_id, item_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX collection_items_by_rank ON collection_items (collection_id, is_hidden, rank, item_id, track_id)",
    "CREATE INDEX collection_items_by_track ON collection_items (track_id)",
    "ALTER TABLE blobs ADD COLUMN crc32 INTEGER",
]


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
