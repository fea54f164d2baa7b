"""Who calls, from credentials only, and which RPC asks for which scope."""
