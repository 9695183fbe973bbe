"""What a demonstration of the IRC adapter needs: a small IRC server and a raw client that witnesses it.

Nothing here shares code with the adapter's codec: an independent reading of the protocol is the better witness.
"""
