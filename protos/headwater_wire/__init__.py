"""The contract between agent and control plane: whatever both sides must agree on, and nothing else."""
