"""The peers and the service, side by side, one command: ``python -m bench``."""
