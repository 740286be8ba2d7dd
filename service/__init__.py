"""yarrr: a media upload service for mp3 audio."""
