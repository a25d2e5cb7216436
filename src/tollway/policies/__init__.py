"""The steps that every call passes, one small file each. Their order stands in `gateway.ORDER`.

A policy takes the next step and returns a step; what it takes and what it gives back stand together in one function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tollway.calls import Call, Reply

Step: TypeAlias = Callable[[Call], Awaitable[Reply]]
