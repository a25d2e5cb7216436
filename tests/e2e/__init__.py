"""Real clients and real servers around a running Tollway. What they need is installed once, by `installed.py`."""
