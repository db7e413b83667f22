"""The ways out, which implement the ports."""
