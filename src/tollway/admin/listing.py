"""Lists page by page: what is looked for, in which order, and how much there is. `page`, `page_size`, `search`, `sort_by` and
`sort_order` are LiteLLM's words (1.106.2, 2026-11-21); lists that it shows whole are shown whole where no `page` is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query

from tollway.admin.border import bad_request

PAGE_SIZE_MAX = 100
SEARCH_CHARACTERS_MAX = 512

T = TypeVar("T")

Page = Annotated[int | None, Query(ge=1, le=1 << 31, description="Asks for a page; without it the list is whole")]
PageSize = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]
Search = Annotated[
    str | None, Query(max_length=SEARCH_CHARACTERS_MAX, description="Part of a name or id, in any case of letters")
]
Order = Literal["asc", "desc"]


def fits(search: str | None, *names: str | None) -> bool:
    """Whether one of the names holds what is looked for."""
    wanted = (search or "").strip().lower()
    return not wanted or any(wanted in name.lower() for name in names if name)


def in_order(
    found: Iterable[T], sorts: Mapping[str, Callable[[T], Any]], sort_by: str | None, sort_order: str, *, default: str
) -> list[T]:
    """Sorted by one of `sorts`; what has no such value comes last either way. Raises BadRequest."""
    by = sorts.get(sort_by or default)
    if by is None:
        raise bad_request(f"Invalid sort_by '{sort_by}'. Use one of: {', '.join(sorts)}.", "sort_by")
    with_value = [(by(one), one) for one in found]
    known = [pair for pair in with_value if pair[0] is not None]
    known.sort(key=lambda pair: pair[0], reverse=sort_order == "desc")
    return [one for _, one in known] + [one for value, one in with_value if value is None]


def page_of(found: Sequence[T], page: int, page_size: int) -> Sequence[T]:
    return found[(page - 1) * page_size : page * page_size]


def page_facts(total: int, page: int, page_size: int) -> dict[str, int]:
    """What stands beside the rows of a page."""
    return {"total": total, "page": page, "page_size": page_size, "total_pages": -(-total // page_size)}
