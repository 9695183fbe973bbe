"""`matrix-bridge email ...`: what an admin does with the network's mail from the command line."""
