"""What we know and can search: all SQL, one file an entity, and the database handles."""
