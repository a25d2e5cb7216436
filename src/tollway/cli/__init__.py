"""What a person types: the `tollway` command, the processes it starts, and what it says."""
