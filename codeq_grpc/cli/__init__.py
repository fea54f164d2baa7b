"""The `codeq` command."""
