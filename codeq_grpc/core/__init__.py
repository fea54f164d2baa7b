"""Pure rules and nouns: no await, no I/O, the standard library only."""
