"""Why tags or a picture are not read: they are broken, or would cost more than they may."""


class Unreadable(ValueError):
    """Its text is the reason, for people: one sentence, and nothing from the file in it."""
