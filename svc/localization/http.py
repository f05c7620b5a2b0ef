"""The plain HTTP side of localization: bundles and formats with strong ETags."""

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from svc.localization import rules
from svc.localization.catalogue import catalogue, etag
from svc.localization.formats import encode, facts
from svc.localization.usage import usage
from svc.mesh.errors import Invalid, NotFound, Refused, problem

MAX_AGE_S = 300
"""How long a client may use a bundle before it asks whether there is a newer one."""

HttpRequest = Request[Any, Any, Any]


def _refusal(refusal: Refused) -> Response[bytes]:
    return Response(
        msgspec.json.encode(problem(refusal)),
        status_code=refusal.status,
        media_type="application/problem+json",
    )


def _malformed(locale: str) -> Response[bytes]:
    return _refusal(Invalid(f"{locale[:64]!r} is not a locale such as de, de-AT or pt-BR"))


def _matches(if_none_match: str | None, tag: str) -> bool:
    """Compare as RFC 9110, 13.1.2 says: any of a list, `*`, and weakly."""
    if if_none_match is None:
        return False
    given = {candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")}
    return tag in given or "*" in given


def _answer(request: HttpRequest, body: bytes, tag: str, locale: str) -> Response[bytes]:
    headers = {
        "etag": tag,
        "cache-control": f"public, max-age={MAX_AGE_S}",
        "content-language": locale,
    }
    if _matches(request.headers.get("if-none-match"), tag):
        return Response(b"", status_code=304, headers=headers, media_type="application/json")
    return Response(body, headers=headers, media_type="application/json")


@get("/v1/i18n/{locale:str}/formats", summary="Read how a locale writes money, dates and plurals")
async def read_formats(request: HttpRequest, locale: FromPath[str]) -> Response[bytes]:
    """Return the CLDR facts of a locale; 400 when the locale is malformed."""
    tag = rules.normalise(locale)
    if tag is None:
        return _malformed(locale)
    body = encode(facts(tag))
    return _answer(request, body, etag(body), tag)


@get("/v1/i18n/{locale:str}/{namespace:str}", summary="Read the texts of a namespace")
async def read_bundle(
    request: HttpRequest, locale: FromPath[str], namespace: FromPath[str]
) -> Response[bytes]:
    """Return the merged bundle; 400 for a malformed locale, 404 for an unknown namespace."""
    tag = rules.normalise(locale)
    if tag is None:
        return _malformed(locale)
    rendered = catalogue().bundle(tag, namespace)
    if rendered is None:
        usage.miss(tag, namespace[:64])
        known = ", ".join(catalogue().namespaces)
        return _refusal(NotFound(f"there is no namespace {namespace[:64]!r}", known=known))
    if rendered.bundle.resolved.partition("-")[0] != tag.partition("-")[0]:
        usage.miss(tag, namespace)
    usage.request(request.headers.get("user-agent", ""), namespace)
    return _answer(request, rendered.body, rendered.etag, rendered.bundle.resolved)


routes = [read_formats, read_bundle]
