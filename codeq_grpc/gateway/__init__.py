"""HTTP for those who do not speak gRPC: a gRPC client like any other."""
