"""What is claimed of speed and memory, measured: each line a figure and its ratio to something of the same run."""
