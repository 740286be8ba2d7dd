"""The sweeper works on what the intake leaves."""

from tests.uploads.conftest import make_place, place

__all__ = ["make_place", "place"]
