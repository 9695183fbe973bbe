"""Bytes to `Mail`: what strangers send, read in processes of their own, bounded in time, memory and size.

`pool.Parser` is the way in; `reader.read_mail` is what its processes do, and all below that is pure. Nothing is
imported here: a process starts with every `worker`, and must not load what only the bridge needs.
"""
