"""What the control plane decides: pure."""
