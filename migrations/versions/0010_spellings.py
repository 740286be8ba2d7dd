"""A facet is spelt as the track that came to it last: who corrects "the beatles" everywhere sees "The Beatles"."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FACETS = ("artist", "album", "album_artist", "genre", "year")


def differ(*names):
    return " OR ".join(f"new.{name} IS NOT old.{name} COLLATE BINARY" for name in names)


def is_known(name, row=""):
    return f"{row}{name} IS NOT NULL" if name == "year" else f"{row}{name} <> ''"


def counting(row, sign, *, changed=False):
    """The change of the counted facets that a row of `tracks` makes when it comes (+) or goes (-)."""
    spelling = ", value = excluded.value" if sign == "+" else ""
    return "".join(
        f"""
        INSERT INTO facets (user_id, name, value, tracks)
        SELECT {row}.user_id, '{name}', {row}.{name}, {sign}1
        WHERE {row}.is_trashed = 0 AND {is_known(name, f"{row}.")}
            {f"AND ({differ(name, 'is_trashed', 'user_id')})" if changed else ""}
        ON CONFLICT (user_id, name, value) DO UPDATE SET tracks = tracks + excluded.tracks{spelling};
        """
        for name in FACETS
    )


STATEMENTS = [
    "DROP TRIGGER tracks_counted",
    "DROP TRIGGER tracks_counted_again",
    f"CREATE TRIGGER tracks_counted AFTER INSERT ON tracks BEGIN {counting('new', '+')} END",
    f"""
    CREATE TRIGGER tracks_counted_again AFTER UPDATE OF {", ".join(FACETS)}, trashed_at, user_id ON tracks
    WHEN {differ(*FACETS, "is_trashed", "user_id")}
    BEGIN {counting("old", "-", changed=True)} {counting("new", "+", changed=True)} END
    """,
    "DELETE FROM facets",
    *(
        f"""
        INSERT INTO facets (user_id, name, value, tracks)
        SELECT user_id, '{name}', {name}, tracks FROM (
            SELECT user_id, {name}, count(*) AS tracks, max(number) FROM tracks
            WHERE is_trashed = 0 AND {is_known(name)} GROUP BY user_id, {name}
        )
        """
        for name in FACETS
    ),
]


def upgrade():
    for statement in STATEMENTS:
        op.execute(statement)
