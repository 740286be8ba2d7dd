"""Runs the migrations inside one explicit transaction: all pending steps, or none.

SQLite's own driver opens transactions late and commits before DDL; with ``isolation_level=None`` and BEGIN IMMEDIATE a
step that fails leaves the database exactly as it was.
"""

from alembic import context
from sqlalchemy import URL, create_engine, event
from sqlalchemy.pool import NullPool

engine = create_engine(URL.create("sqlite", database=context.config.attributes["path"]), poolclass=NullPool)


@event.listens_for(engine, "connect")
def _own_transactions(connection, _record):
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def _begin_immediate(connection):
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
