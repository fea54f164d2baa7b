"""The keyspace of codeQ's predecessors: how it is read, and what becomes of what stands there."""
