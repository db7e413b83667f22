"""Version 1 of the wire: the .proto files and their generated stubs."""
