"""MongoDB: the connection, the collections and their indexes, the clock, the slots, the embedded server."""
