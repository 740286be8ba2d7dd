"""What is done to a whole data directory from outside of the service: copied, and looked through."""
