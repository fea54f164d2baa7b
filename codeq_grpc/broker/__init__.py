"""Decides: who gets what, who waits for what, what a report means."""
