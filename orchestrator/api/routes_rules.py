"""The rules that refuse, a page each: the `type` of a problem leads here. Without a token, for people and for programs."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from orchestrator.domain.rules import RULES, base
from orchestrator.errors import UnknownName

router = APIRouter(prefix="/v1/rules", tags=["site"])


@router.get("")
def rules() -> dict[str, str]:
    """Every rule that refuses, and what it means. Without a token."""
    return dict(RULES)


@router.get("/{rule}", response_model=None, responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}})
def rule(rule: Annotated[str, Path(max_length=200)], request: Request) -> Response:
    """A rule that refuses: what the `type` of a problem leads to. As a page for whoever prefers HTML. Without a token."""
    name = base(rule)
    if name not in RULES:
        raise UnknownName(f"there is no rule {name!r}", advice="GET /v1/rules")
    title = name.replace("-", " ")
    if _prefers_html(request.headers.get("accept", "")):
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
            f"<h1>{escape(title)}</h1><p>{escape(RULES[name])}</p></html>"
        )
        return HTMLResponse(page, headers={"Vary": "Accept"})
    found: dict[str, Any] = {"rule": name, "title": title, "meaning": RULES[name]}
    return JSONResponse(found, headers={"Vary": "Accept"})


def _prefers_html(accept: str) -> bool:
    """Whether HTML is named, and before JSON: what browsers send."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    json_at = next((n for n, kind in enumerate(kinds) if kind in ("application/json", "application/*")), len(kinds))
    return "text/html" in kinds and kinds.index("text/html") < json_at
