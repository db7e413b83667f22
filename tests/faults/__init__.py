"""A TCP proxy that cuts, freezes, slows, spoils, repeats and reorders: between agents, broker and gateway."""
