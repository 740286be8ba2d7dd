"""Users, sessions, tokens, uploads, blobs, tracks.

Times are integers, microseconds since 1970 UTC. Ids are text: ULIDs where order by age helps, 128 random bits in hex
where the id is a capability (uploads).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE users (
        user_id TEXT PRIMARY KEY,
        name TEXT NOT NULL COLLATE NOCASE UNIQUE,
        password_hash TEXT NOT NULL,
        is_admin INTEGER NOT NULL DEFAULT 0,
        quota_bytes INTEGER,
        used_bytes INTEGER NOT NULL DEFAULT 0,
        used_tracks INTEGER NOT NULL DEFAULT 0,
        reserved_bytes INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        disabled_at INTEGER
    ) STRICT
    """,
    """
    CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,
        secret_sha256 BLOB NOT NULL UNIQUE,
        user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
        address TEXT NOT NULL,
        user_agent TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        last_seen_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX sessions_by_user ON sessions (user_id, created_at)",
    """
    CREATE TABLE tokens (
        token_id TEXT PRIMARY KEY,
        secret_sha256 BLOB NOT NULL,
        user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used_at INTEGER
    ) STRICT
    """,
    "CREATE INDEX tokens_by_user ON tokens (user_id, created_at)",
    """
    CREATE TABLE blobs (
        key TEXT PRIMARY KEY,
        sha256 BLOB NOT NULL,
        size INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('ready', 'deleting')),
        created_at INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX blobs_ready_by_sha256 ON blobs (sha256) WHERE state = 'ready'",
    "CREATE INDEX blobs_deleting ON blobs (key) WHERE state = 'deleting'",
    """
    CREATE TABLE tracks (
        track_id TEXT PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users,
        key TEXT NOT NULL REFERENCES blobs,
        sha256 BLOB NOT NULL,
        size INTEGER NOT NULL,
        filename TEXT NOT NULL,
        title TEXT NOT NULL COLLATE NOCASE,
        artist TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        album TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        title_given TEXT,
        artist_given TEXT,
        album_given TEXT,
        title_tagged TEXT,
        artist_tagged TEXT,
        album_tagged TEXT,
        labels TEXT NOT NULL DEFAULT '{}',
        duration REAL NOT NULL,
        bitrate INTEGER NOT NULL,
        mode TEXT NOT NULL,
        channels INTEGER NOT NULL,
        sample_rate INTEGER NOT NULL,
        audio TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('analysing', 'ready', 'trashed')),
        version INTEGER NOT NULL DEFAULT 1,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        trashed_at INTEGER
    ) STRICT
    """,
    "CREATE INDEX tracks_by_created_at ON tracks (user_id, created_at, track_id) WHERE trashed_at IS NULL",
    "CREATE INDEX tracks_by_title ON tracks (user_id, title, track_id) WHERE trashed_at IS NULL",
    "CREATE INDEX tracks_by_artist ON tracks (user_id, artist, track_id) WHERE trashed_at IS NULL",
    "CREATE INDEX tracks_by_album ON tracks (user_id, album, track_id) WHERE trashed_at IS NULL",
    "CREATE INDEX tracks_by_duration ON tracks (user_id, duration, track_id) WHERE trashed_at IS NULL",
    "CREATE INDEX tracks_by_size ON tracks (user_id, size, track_id) WHERE trashed_at IS NULL",
    "CREATE INDEX tracks_by_filename ON tracks (user_id, filename)",
    "CREATE INDEX tracks_by_trashed_at ON tracks (trashed_at) WHERE trashed_at IS NOT NULL",
    "CREATE INDEX tracks_in_trash ON tracks (user_id, created_at, track_id) WHERE trashed_at IS NOT NULL",
    "CREATE INDEX tracks_by_key ON tracks (key)",
    "CREATE INDEX tracks_by_sha256 ON tracks (user_id, sha256)",
    """
    CREATE TABLE uploads (
        upload_id TEXT PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users,
        state TEXT NOT NULL
            CHECK (state IN ('receiving', 'finished', 'refused', 'terminated', 'expired', 'lost')),
        filename TEXT NOT NULL,
        title TEXT,
        "offset" INTEGER NOT NULL DEFAULT 0,
        length INTEGER,
        claimed_sha256 BLOB,
        metadata TEXT,
        concat TEXT,
        reserved_bytes INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        track_id TEXT REFERENCES tracks ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
        problem TEXT,
        has_checksums INTEGER NOT NULL DEFAULT 0,
        is_announced INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX uploads_receiving ON uploads (user_id, filename, created_at) WHERE state = 'receiving'",
    "CREATE INDEX uploads_by_expires_at ON uploads (expires_at)",
    "CREATE INDEX uploads_by_track ON uploads (track_id)",
]


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
