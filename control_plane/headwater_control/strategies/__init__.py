"""How deltas become the next version: numpy only."""
