"""Durable writes, the lock of a writer, and checks of untrusted files."""
