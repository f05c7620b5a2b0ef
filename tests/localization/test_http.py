"""What clients and services get from the plain HTTP side."""

import httpx
import pytest

from svc.localization.usage import PLACES_MAX, REQUESTS_METRIC, Usage, usage


async def test_a_bundle_comes_with_its_language_version_and_direction(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.get("/v1/i18n/de-AT/localization")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-language"] == "de"
    body = answer.json()
    assert (body["locale"], body["resolved"], body["namespace"]) == ("de-AT", "de", "localization")
    assert body["rtl"] is False
    assert body["version"]
    assert body["messages"]["language"] == "Deutsch"


async def test_a_language_without_bundles_gets_english_and_is_counted_as_missing(
    http: httpx.AsyncClient,
) -> None:
    before = usage.missing["ar/localization"]
    answer = await http.get("/v1/i18n/ar/localization")
    assert answer.status_code == 200
    assert answer.json()["rtl"] is True
    assert answer.json()["messages"]["language"] == "English"
    assert usage.missing["ar/localization"] == before + 1


async def test_an_unchanged_bundle_is_answered_304_without_a_body(http: httpx.AsyncClient) -> None:
    first = await http.get("/v1/i18n/en/localization")
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await http.get("/v1/i18n/en/localization", headers={"if-none-match": sent})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    other = await http.get("/v1/i18n/en/localization", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_different_locales_have_different_tags(http: httpx.AsyncClient) -> None:
    tags = {
        (await http.get(f"/v1/i18n/{locale}/localization")).headers["etag"]
        for locale in ("en", "de", "de-AT", "pt-BR")
    }
    assert len(tags) == 4


async def test_an_unknown_namespace_is_a_404_problem(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/i18n/en/nonsense")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:betmesh:problem:not-found"
    assert usage.missing["en/nonsense"] >= 1


@pytest.mark.parametrize("locale", ["x", "de_AT", "deutsch", "de-AT-AT", "%2e%2e", "1"])
@pytest.mark.parametrize("what", ["localization", "formats"])
async def test_a_malformed_locale_is_a_400_problem(
    http: httpx.AsyncClient, locale: str, what: str
) -> None:
    answer = await http.get(f"/v1/i18n/{locale}/{what}")
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:betmesh:problem:validation"


async def test_formats_tell_what_cldr_knows_of_a_locale(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/i18n/de/formats")
    assert answer.status_code == 200
    body = answer.json()
    assert body["decimal_symbol"] == ","
    assert body["first_day_of_week"] == 1
    assert body["date_patterns"]["medium"] == "dd.MM.y"
    assert body["plural_rules"] == {"one": "i in 1 and v in 0"}
    assert {code: body["currencies"][code]["digits"] for code in ("EUR", "JPY", "BHD")} == {
        "EUR": 2,
        "JPY": 0,
        "BHD": 3,
    }
    again = await http.get("/v1/i18n/de/formats", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_requests_are_counted_by_the_service_that_asks(http: httpx.AsyncClient) -> None:
    before = usage.requests["wallet/localization"], usage.requests["other/localization"]
    await http.get("/v1/i18n/en/localization", headers={"user-agent": "betmesh-wallet"})
    await http.get("/v1/i18n/en/localization", headers={"user-agent": "curl/8"})
    after = usage.requests["wallet/localization"], usage.requests["other/localization"]
    assert after == (before[0] + 1, before[1] + 1)


def test_whatever_clients_call_themselves_few_names_are_counted() -> None:
    counted = Usage()
    for number in range(PLACES_MAX + 50):
        counted.request(f"betmesh-flood{number}", "problems")
    assert len(counted.requests) == PLACES_MAX + 1
    assert counted.requests["other"] == 50
    [metric] = REQUESTS_METRIC.collect()
    names = {sample.labels["caller"] for sample in metric.samples}
    assert len([name for name in names if name.startswith("flood")]) == PLACES_MAX
