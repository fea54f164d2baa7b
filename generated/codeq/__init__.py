"""The generated code of the codeQ API."""
