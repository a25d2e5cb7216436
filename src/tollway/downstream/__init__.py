"""The door to clients: one line a request, with bounds on what a client may send and how slowly."""
