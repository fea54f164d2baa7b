"""Between protobuf and our nouns: checks requests, builds responses, maps errors."""
