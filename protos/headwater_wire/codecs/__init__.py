"""Delta codecs: how a flat float32 vector becomes a file, and back."""
