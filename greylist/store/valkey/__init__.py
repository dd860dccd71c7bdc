"""The store in Valkey or Redis, which several hosts share."""
