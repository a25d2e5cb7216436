"""Which deployment next: a pure choice from what is known, without waiting, sockets or clocks (`now` and chance come in)."""
