"""Later work and what runs it."""
