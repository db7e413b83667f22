"""What runs in the child process: engines and datasets. Only protocol.py is for the daemon too."""
