"""The rows: each module measures one thing and returns its tables."""
