"""Who is who: passwords, sessions, tokens, permissions."""
