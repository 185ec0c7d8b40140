"""Verify, repair and pack a store."""
