"""Mails on their way out: a durable queue, the servers they are handed to, and what became of them."""
