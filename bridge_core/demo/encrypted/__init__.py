"""`matrix-bridge demo --encrypted`: the conversation in encrypted rooms, and a search for it in what is stored."""
