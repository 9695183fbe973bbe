"""An independent encrypted Matrix client, driven as a process: the witness of encrypted demos and tests."""
