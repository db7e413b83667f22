"""The agent: one service per box, which trains where the data is and never hurts the box."""
