"""Stand-ins that are shipped, so that users can test what they build on Tollway without a network and without
waiting."""

from tollway.testing.clock import FakeClock
from tollway.testing.upstream import Cut, FakeReply, FakeRequest, FakeUpstream, Gate, Pause

__all__ = ["Cut", "FakeClock", "FakeReply", "FakeRequest", "FakeUpstream", "Gate", "Pause"]
