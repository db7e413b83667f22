"""The command line, a thin layer over headwater.Client."""
