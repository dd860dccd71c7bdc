"""``greylist serve``: one process, or a few, for all connections."""
