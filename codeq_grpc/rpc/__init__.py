"""Answers calls: interceptors around servicers of a few lines."""
