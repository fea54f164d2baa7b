"""How a server is reached: addresses, unix sockets, certificates. Knows no gRPC."""
