"""One module per noun, one function per use case: load, decide, save, and tell the devices after the commit."""
