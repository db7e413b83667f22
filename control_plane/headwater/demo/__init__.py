"""The demo: a whole Headwater on this machine, as real processes, on real handwritten digits."""
