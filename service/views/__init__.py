"""What answers: one class-based view a resource; thin: read, load, call one thing, dump."""
