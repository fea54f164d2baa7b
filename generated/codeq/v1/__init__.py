"""Messages and stubs of codeq.v1, written by `make generate`."""
