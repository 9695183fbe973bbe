"""Email: a mail server whose front end is Matrix."""
