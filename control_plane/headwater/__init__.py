"""The operator's side: the SDK and the command line."""
