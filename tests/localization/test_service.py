"""localization as it runs in the mesh: found by name, asked over HTTP, and telling who asked."""

import httpx
import msgspec

from svc.localization.contract import MISSING, MissingOf
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


async def test_it_is_found_by_name_and_answers_over_http(
    services: Services, operator: Operator, platform: Platform
) -> None:
    await services("localization")
    answer = await operator.connection.request("$SRV.INFO.localization", timeout=5)
    url = msgspec.json.decode(answer.data)["metadata"]["http"]
    assert url.endswith(":" + platform.settings["LOCALIZATION_PORT"])
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        bundle = await client.get("/v1/i18n/de-AT/localization")
        assert bundle.json()["messages"]["language"] == "Deutsch"
        assert (await client.get("/healthz")).status_code == 200
        await client.get("/v1/i18n/xx/localization")
        metrics = (await client.get("/metrics")).text
    assert 'betmesh_localization_missing_total{bundle="xx/localization"}' in metrics
    told = await operator.call(MISSING, MissingOf())
    assert told.missing["xx/localization"] >= 1


async def test_services_fetch_their_texts_through_the_mesh(
    services: Services, operator: Operator
) -> None:
    await services("localization", "marketing")

    async def told() -> bool:
        found = await operator.call(MISSING, MissingOf())
        return found.requests.get("marketing/marketing", 0) > 0

    await until(told, "marketing has asked for its texts")
