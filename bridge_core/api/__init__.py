"""All that an adapter may import, together with `bridge_core.content`. It imports nothing else of ours."""
