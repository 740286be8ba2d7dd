"""How bytes become a track."""
