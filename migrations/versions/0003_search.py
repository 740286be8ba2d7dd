"""What lets 50 of 1,000,000 tracks be found in milliseconds, whatever is asked: see ``service/catalogue/search.py``.

The table is built anew for its ``number``, the key of the full-text index, which not even VACUUM may change.
Every index that a page is read from begins with whose and where the track is, then has what it sorts by, then the order
of equals; behind that stands what a walk along the index tests each row with, so that it need not look the row up.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = """
    track_id, user_id, key, sha256, size, filename, title, artist, album, labels, duration, bitrate, mode, channels,
    sample_rate, audio, state, version, created_at, updated_at, trashed_at, given, tags, album_artist, genre, composer,
    comment, year, track_number, disc_number, metadata, metadata_reason, cover, cover_given, cover_tagged,
    frames_sha256, audio_start, audio_end, sound_id, revision
"""

SORTED = ("created_at", "title", "artist", "album", "genre", "sort_year", "duration", "size", "bitrate")
TESTED = ("duration", "size", "bitrate", "sort_year", "word_bits", "mark_bits")

SEARCHED = (
    *("title", "artist", "album", "album_artist", "genre", "composer", "filename", "labels"),
    *("year", "mode", "channels", "sample_rate", "metadata", "cover", "trashed_at", "user_id"),
)

FACETS = ("artist", "album", "album_artist", "genre", "year")


def index(column):
    columns = dict.fromkeys(("user_id", "is_trashed", column, "created_at", "track_id", *TESTED))
    return f"CREATE INDEX tracks_by_{column} ON tracks ({', '.join(columns)})"


def differ(*names):
    return " OR ".join(f"new.{name} IS NOT old.{name} COLLATE BINARY" for name in names)


def counting(row, sign, *, changed=False):
    """The change of the counted facets that a row of `tracks` makes when it comes (+) or goes (-)."""
    return "".join(
        f"""
        INSERT INTO facets (user_id, name, value, tracks)
        SELECT {row}.user_id, '{name}', {row}.{name}, {sign}1
        WHERE {row}.is_trashed = 0 AND {row}.{name} {"IS NOT NULL" if name == "year" else "<> ''"}
            {f"AND ({differ(name, 'is_trashed', 'user_id')})" if changed else ""}
        ON CONFLICT (user_id, name, value) DO UPDATE SET tracks = tracks + excluded.tracks;
        """
        for name in FACETS
    )


STATEMENTS = [
    """
    CREATE TABLE tracks_anew (
        number INTEGER PRIMARY KEY,
        track_id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL REFERENCES users,
        key TEXT NOT NULL REFERENCES blobs,
        sha256 BLOB NOT NULL,
        size INTEGER NOT NULL,
        filename TEXT NOT NULL,
        title TEXT NOT NULL COLLATE NOCASE,
        artist TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        album TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        album_artist TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        genre TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        composer TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        comment TEXT NOT NULL DEFAULT '' COLLATE NOCASE,
        year INTEGER,
        track_number INTEGER,
        disc_number INTEGER,
        given TEXT NOT NULL DEFAULT '{}',
        tags TEXT NOT NULL DEFAULT '{}',
        labels TEXT NOT NULL DEFAULT '{}',
        duration REAL NOT NULL,
        bitrate INTEGER NOT NULL,
        mode TEXT NOT NULL,
        channels INTEGER NOT NULL,
        sample_rate INTEGER NOT NULL,
        audio TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('analysing', 'ready', 'trashed')),
        metadata TEXT NOT NULL DEFAULT 'pending' CHECK (metadata IN ('pending', 'available', 'unavailable')),
        metadata_reason TEXT,
        cover BLOB REFERENCES covers,
        cover_given BLOB REFERENCES covers,
        cover_tagged BLOB REFERENCES covers,
        frames_sha256 BLOB,
        audio_start INTEGER,
        audio_end INTEGER,
        sound_id TEXT,
        version INTEGER NOT NULL DEFAULT 1,
        revision INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        trashed_at INTEGER,
        words TEXT NOT NULL DEFAULT '',
        marks TEXT NOT NULL DEFAULT '',
        word_bits INTEGER NOT NULL DEFAULT 0,
        mark_bits INTEGER NOT NULL DEFAULT 0,
        sort_year INTEGER NOT NULL GENERATED ALWAYS AS (ifnull(year, -1)) STORED,
        is_trashed INTEGER NOT NULL GENERATED ALWAYS AS (trashed_at IS NOT NULL) STORED
    ) STRICT
    """,
    f"INSERT INTO tracks_anew ({COLUMNS}) SELECT {COLUMNS} FROM tracks ORDER BY created_at, track_id",
    "DROP TABLE tracks",
    "ALTER TABLE tracks_anew RENAME TO tracks",
    # Others mean a track by its id, which is no longer the primary key. A constraint that changes nothing on disk is
    # changed as https://sqlite.org/lang_altertable.html says.
    "PRAGMA writable_schema = ON",
    """
    UPDATE sqlite_schema SET sql = replace(sql, 'REFERENCES tracks ', 'REFERENCES tracks (track_id) ')
    WHERE type = 'table' AND name IN ('uploads', 'analyses', 'jobs')
    """,
    "PRAGMA writable_schema = RESET",
    *map(index, SORTED),
    "CREATE INDEX tracks_analysing ON tracks (user_id, is_trashed) WHERE state = 'analysing'",
    "CREATE INDEX tracks_by_trashed_at ON tracks (trashed_at) WHERE trashed_at IS NOT NULL",
    "CREATE INDEX tracks_by_key ON tracks (key)",
    "CREATE INDEX tracks_by_sha256 ON tracks (user_id, sha256)",
    "CREATE INDEX tracks_by_frames ON tracks (user_id, frames_sha256) WHERE frames_sha256 IS NOT NULL",
    "CREATE INDEX tracks_by_sound ON tracks (user_id, sound_id) WHERE sound_id IS NOT NULL",
    "CREATE INDEX tracks_by_cover_given ON tracks (cover_given) WHERE cover_given IS NOT NULL",
    "CREATE INDEX tracks_by_cover_tagged ON tracks (cover_tagged) WHERE cover_tagged IS NOT NULL",
    """
    CREATE VIRTUAL TABLE searched USING fts5(
        words, marks,
        content = 'tracks', content_rowid = 'number', columnsize = 0, detail = 'none', tokenize = 'ascii',
        prefix = '1 2 3 4'
    )
    """,
    # Every transaction adds a segment of its own: merging eight at a time costs writers half of what merging four does.
    "INSERT INTO searched (searched, rank) VALUES ('automerge', 8)",
    # Tracks that `searched` does not have as they are, with the words and marks it has of them. Filled by triggers and
    # emptied at the end of every transaction: triggers must not write to a virtual table (trusted_schema is off).
    """
    CREATE TABLE unsearched (
        number INTEGER PRIMARY KEY,
        words TEXT NOT NULL DEFAULT '',
        marks TEXT NOT NULL DEFAULT ''
    ) STRICT
    """,
    "INSERT INTO unsearched (number) SELECT number FROM tracks",
    """
    CREATE TABLE facets (
        user_id TEXT NOT NULL,
        name TEXT NOT NULL,
        value ANY NOT NULL COLLATE NOCASE,
        tracks INTEGER NOT NULL,
        PRIMARY KEY (user_id, name, value)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX facets_by_tracks ON facets (user_id, name, tracks DESC, value)",
    *(
        f"""
        INSERT INTO facets (user_id, name, value, tracks)
        SELECT user_id, '{name}', {name}, count(*) FROM tracks
        WHERE is_trashed = 0 AND {name} {"IS NOT NULL" if name == "year" else "<> ''"}
        GROUP BY user_id, {name}
        """
        for name in FACETS
    ),
    """
    CREATE TRIGGER tracks_to_search AFTER INSERT ON tracks BEGIN
        INSERT OR IGNORE INTO unsearched (number) VALUES (new.number);
    END
    """,
    f"""
    CREATE TRIGGER tracks_to_search_again AFTER UPDATE OF {", ".join(SEARCHED)} ON tracks WHEN {differ(*SEARCHED)} BEGIN
        INSERT OR IGNORE INTO unsearched (number, words, marks) VALUES (old.number, old.words, old.marks);
    END
    """,
    """
    CREATE TRIGGER tracks_not_to_search AFTER DELETE ON tracks BEGIN
        INSERT OR IGNORE INTO unsearched (number, words, marks) VALUES (old.number, old.words, old.marks);
    END
    """,
    f"CREATE TRIGGER tracks_counted AFTER INSERT ON tracks BEGIN {counting('new', '+')} END",
    f"""
    CREATE TRIGGER tracks_counted_again AFTER UPDATE OF {", ".join(FACETS)}, trashed_at, user_id ON tracks
    WHEN {differ(*FACETS, "is_trashed", "user_id")}
    BEGIN {counting("old", "-", changed=True)} {counting("new", "+", changed=True)} END
    """,
    f"CREATE TRIGGER tracks_not_counted AFTER DELETE ON tracks BEGIN {counting('old', '-')} END",
    """
    CREATE TRIGGER facets_empty AFTER UPDATE OF tracks ON facets WHEN new.tracks = 0 BEGIN
        DELETE FROM facets WHERE user_id = new.user_id AND name = new.name AND value = new.value;
    END
    """,
]


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
