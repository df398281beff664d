"""What setup.py needs. It is in the source distribution, and is not installed."""
