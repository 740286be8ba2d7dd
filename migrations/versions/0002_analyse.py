"""What a track's file says, what decoding found, and the jobs that find it out.

The texts of a track move into two documents: ``given`` has what its user wrote, ``tags`` what the file says; the
columns keep what counts. Tracks that were there before get their jobs here.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = [
    "ALTER TABLE tracks ADD COLUMN given TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE tracks ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'",
    """
    UPDATE tracks SET given = json_patch(
        '{}', json_object('title', title_given, 'artist', artist_given, 'album', album_given)
    )
    """,
    *(
        f"ALTER TABLE tracks DROP COLUMN {text}_{origin}"
        for text in ("title", "artist", "album")
        for origin in ("given", "tagged")
    ),
    *(
        f"ALTER TABLE tracks ADD COLUMN {text} TEXT NOT NULL DEFAULT '' COLLATE NOCASE"
        for text in ("album_artist", "genre", "composer", "comment")
    ),
    *(f"ALTER TABLE tracks ADD COLUMN {number} INTEGER" for number in ("year", "track_number", "disc_number")),
    """
    ALTER TABLE tracks ADD COLUMN metadata TEXT NOT NULL DEFAULT 'pending'
        CHECK (metadata IN ('pending', 'available', 'unavailable'))
    """,
    "ALTER TABLE tracks ADD COLUMN metadata_reason TEXT",
    """
    CREATE TABLE covers (
        digest BLOB PRIMARY KEY,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT
    """,
    *(
        f"ALTER TABLE tracks ADD COLUMN {cover} BLOB REFERENCES covers"
        for cover in ("cover", "cover_given", "cover_tagged")
    ),
    "CREATE INDEX tracks_by_cover_given ON tracks (cover_given) WHERE cover_given IS NOT NULL",
    "CREATE INDEX tracks_by_cover_tagged ON tracks (cover_tagged) WHERE cover_tagged IS NOT NULL",
    "ALTER TABLE tracks ADD COLUMN frames_sha256 BLOB",
    "ALTER TABLE tracks ADD COLUMN audio_start INTEGER",
    "ALTER TABLE tracks ADD COLUMN audio_end INTEGER",
    "ALTER TABLE tracks ADD COLUMN sound_id TEXT",
    "ALTER TABLE tracks ADD COLUMN revision INTEGER NOT NULL DEFAULT 0",
    """
    CREATE INDEX tracks_by_frames ON tracks (user_id, frames_sha256)
    WHERE frames_sha256 IS NOT NULL AND trashed_at IS NULL
    """,
    "CREATE INDEX tracks_by_sound ON tracks (user_id, sound_id) WHERE sound_id IS NOT NULL AND trashed_at IS NULL",
    """
    CREATE TABLE analyses (
        track_id TEXT PRIMARY KEY REFERENCES tracks ON DELETE CASCADE,
        report TEXT NOT NULL,
        sample_rate INTEGER NOT NULL,
        samples_per_point INTEGER NOT NULL,
        peaks BLOB NOT NULL,
        fingerprint BLOB,
        created_at INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE jobs (
        job_id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('describe', 'measure')),
        track_id TEXT NOT NULL REFERENCES tracks ON DELETE CASCADE,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'failed')),
        attempts INTEGER NOT NULL DEFAULT 0,
        problem TEXT,
        due_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (track_id, kind)
    ) STRICT
    """,
    "CREATE INDEX jobs_waiting ON jobs (kind, due_at, job_id) WHERE state = 'waiting'",
    "CREATE INDEX jobs_running ON jobs (job_id) WHERE state = 'running'",
    """
    INSERT INTO jobs (kind, track_id, state, due_at, created_at)
    SELECT 'describe', track_id, 'waiting', created_at, created_at FROM tracks ORDER BY created_at
    """,
]


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
