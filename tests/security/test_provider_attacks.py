"""Attacks by tokens that an identity provider is said to have given: each test is one, and shows that it fails."""

import base64
import json
from typing import Any

import httpx
import pytest
from headwater_control.core.attempts import Attempts, Pace
from headwater_control.core.authority import Role
from headwater_control.edges.oidc import OidcProvider
from headwater_control.gates.http.auth import Door
from headwater_control.service.world import World

from tests.control_plane.gates.http.test_problems import problem
from tests.support.front_door import NOW, bearing, behind_the_door, refused, token
from tests.support.provider import Provider, rsa


@pytest.mark.parametrize(
    "claims",
    [{"iss": "https://evil.example"}, {"aud": "another"}, {"exp": NOW - 60}, {"nbf": NOW + 60}, {"exp": None}],
    ids=["issuer", "audience", "expired", "not yet", "for ever"],
)
async def test_a_provider_s_token_that_is_not_for_us_is_refused(
    world: World, idp: Provider, claims: dict[str, Any]
) -> None:
    """Another issuer or audience, expired, not valid yet, and without end; the right one gets in."""
    async with behind_the_door(world, Door(OidcProvider(idp.settings(), world.clock))) as http:
        assert (await http.get("/v1/whoami", headers=bearing(idp.token()))).json() == {
            "name": "oidc:ann", "role": "operator", "labels": {}, "until": "2026-01-05T08:05:00Z",
        }  # fmt: skip
        answer = await http.get("/v1/whoami", headers=bearing(idp.token(**claims)))
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        refused(answer)


async def test_jwt_alg_none_and_key_confusion_are_refused(world: World, idp: Provider) -> None:
    """No signature, one by HMAC with the public key in each spelling as the secret, and one by a key brought along."""
    public = rsa().as_pem(private=False)
    admin: dict[str, Any] = {"groups": ["fleet-admins"]}
    forged = [idp.token(header={"alg": alg}, **admin) for alg in ("none",)]
    head, body, _ = forged[0].split(".")
    forged += [f"{head}.{body}.", f"{_header('None')}.{body}.", f"{_header('nOnE')}.{body}.", f"{_header('')}.{body}."]
    secrets = (public, public.strip(), rsa().as_der(private=False), json.dumps(rsa().as_dict(private=False)).encode())
    forged += [idp.confused(secret) for secret in secrets]
    forged += [idp.token(rsa("mallory"), {"jwk": rsa("mallory").as_dict(private=False)}, **admin)]
    forged += [idp.token(rsa("mallory"), {"kid": "rsa-1", "x5u": "https://evil.example"}, **admin)]
    pace = Attempts(Pace(1000, 1.0))
    async with behind_the_door(world, Door(OidcProvider(idp.settings(), world.clock), pace)) as http:
        for text in forged:
            refused(await http.get("/v1/tokens", headers=bearing(text)))
        assert (await http.get("/v1/tokens", headers=bearing(idp.token(**admin)))).status_code == 200


def _header(algorithm: str) -> str:
    text = json.dumps({"alg": algorithm, "kid": "rsa-1", "typ": "JWT"}).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


async def test_without_a_provider_no_jwt_gets_in(idp: Provider, http: httpx.AsyncClient) -> None:
    """However good it is elsewhere."""
    assert "hw_" in refused(await http.get("/v1/runs", headers=bearing(idp.token())))


async def test_a_provider_that_is_away_lets_nobody_in_and_locks_no_token_out(world: World, idp: Provider) -> None:
    """503 for its tokens; API tokens go on."""
    idp.answers["/keys"] = 500, b""
    async with behind_the_door(world, Door(OidcProvider(idp.settings(), world.clock))) as http:
        answer = await http.get("/v1/runs", headers=bearing(idp.token()))
        assert "identity provider" in problem(answer, 503)["detail"]
        assert answer.headers["retry-after"] == "10"
        assert (await http.get("/v1/runs", headers=await token(world, Role.VIEWER))).status_code == 200
