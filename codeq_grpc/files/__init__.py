"""Settings that people keep in files: their form, how they are read, and how they are written."""
