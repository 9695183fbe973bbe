"""The other side of the email demo: a mail server of somebody else, and a person who uses it."""
