"""Several servers on one port, and the parent that keeps them running."""
