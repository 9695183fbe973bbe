"""The doors: SMTP, submission and LMTP. Bytes of strangers in, committed mails out."""
