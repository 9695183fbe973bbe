"""What is said on Matrix becomes the bytes of a mail."""
