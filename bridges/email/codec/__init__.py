"""Bytes to mails and back. Nothing here does input or output."""
