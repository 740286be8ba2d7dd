"""What an mp3 is: pure functions of bytes and files."""
