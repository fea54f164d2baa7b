"""JSON Schemas of payloads. Here alone the validator is known, which runs in other processes."""
