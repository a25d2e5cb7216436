"""What one attempt used, and what that cost: values that go into the journal as they are."""

from __future__ import annotations

from msgspec import Struct


class UsageDetails(Struct, array_like=True, frozen=True, gc=False):
    """What few calls have and some prices ask for. The cached sound and pictures are parts of `Usage.cache_read`."""

    cache_read_audio: int = 0
    cache_read_image: int = 0
    citations: int = 0  # tokens of sources read, billed apart from input and output
    file_searches: int = 0
    search_size: str = ""  # how much each search might read: "low", "medium", "high"; "" the usual
    image_kind: str = ""  # quality and size of the pictures made: "hd/1024x1792"
    place: str = ""  # where it was served, told where some places cost more: "us"


class Usage(Struct, array_like=True, frozen=True, gc=False):
    """What one attempt used, in disjoint buckets: no token stands in two, and the sums equal the provider's totals.

    Tokens, except `images` (pieces), `searches` (calls), `characters`, `seconds` (of audio), `queries` (rerank units).
    """

    input: int = 0  # uncached text
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    image_in: int = 0
    output: int = 0  # text, without reasoning
    reasoning: int = 0
    audio_out: int = 0
    image_out: int = 0
    searches: int = 0
    images: int = 0
    characters: int = 0
    seconds: float = 0.0
    queries: int = 0
    service_tier: str = ""  # the tier that was served: "", "priority", "flex", "batch", "fast"
    details: UsageDetails | None = None

    @property
    def input_total(self) -> int:
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.audio_in + self.image_in

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning + self.audio_out + self.image_out


class Cost(Struct, array_like=True, frozen=True, gc=False):
    """Whole nano-dollars. `total` is rounded once, half-even; the parts are for showing and may differ from it by rounding."""

    total: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    tools: int = 0


NO_COST = Cost()
