"""Tokens of an identity provider, against a real one on this machine."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from headwater_control.core.authority import Principal, Role
from headwater_control.core.claims import roles_from
from headwater_control.edges.oidc import BadProvider, OidcProvider
from headwater_control.ports import ProviderAway, Unproven
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey

from tests.fakes.clock import START, FakeClock
from tests.support.provider import Provider, provider, rsa

NOW = int(START.timestamp())
DISCOVERY = "/.well-known/openid-configuration"
ANN = Principal("oidc:ann", Role.OPERATOR)


@pytest.fixture
def idp() -> Iterator[Provider]:
    """Serve one with an RSA key."""
    with provider() as serving:
        yield serving


def symmetric(secret: bytes) -> OctKey:
    """Make an HMAC key that has the name of the published one."""
    return OctKey.import_key({"kty": "oct", "k": urlsafe_b64encode(secret).rstrip(b"=").decode(), "kid": "rsa-1"})


def trusting(idp: Provider, clock: FakeClock | None = None, **settings: Any) -> OidcProvider:
    """Trust it."""
    return OidcProvider(idp.settings(**settings), clock or FakeClock())


async def test_until_when_a_token_is_good_is_told(idp: Provider) -> None:
    """As its claim says, with a fraction or without; an end beyond the calendar is none."""
    for exp, until in (
        (NOW + 90, START + timedelta(seconds=90)),
        (NOW + 0.5, START + timedelta(seconds=0.5)),
        (1e18, None),
    ):
        assert (await trusting(idp).principal(idp.token(exp=exp))).until == until


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa(), "RS256"),
        (ECKey.generate_key("P-256", {"kid": "ec"}), "ES256"),
        (OKPKey.generate_key("Ed25519", {"kid": "ed"}), "Ed25519"),
        (OKPKey.generate_key("Ed25519", {"kid": "ed"}), "EdDSA"),
    ],
)
async def test_each_pinned_algorithm_is_taken(key: Any, algorithm: str) -> None:
    """Signed by a published key, a token says who comes and with which role."""
    with provider(key) as idp:
        assert await trusting(idp).principal(idp.token(header={"alg": algorithm})) == ANN
        assert await trusting(idp).principal(idp.token(header={"alg": algorithm, "kid": None, "typ": None})) == ANN
        keys_only = trusting(idp, jwks_url=f"{idp.url}/keys")
        idp.asked.clear()
        assert await keys_only.principal(idp.token(header={"alg": algorithm, "typ": "at+JWT"})) == ANN
        assert idp.asked == ["/keys"]


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": ["{url}"]},
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": None},
        {"exp": NOW - 31},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"exp": True},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "x" * 201},
    ],
)
async def test_claims_must_be_right(idp: Provider, claims: dict[str, Any]) -> None:
    """Another issuer, audience or time, or nobody named: the token proves nothing, however well it is signed."""
    with pytest.raises(Unproven):
        await trusting(idp).principal(idp.token(**claims))


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 29}, {"nbf": NOW + 30}, {"aud": ["other", "headwater"]}, {"nbf": None}]
)
async def test_a_clock_may_be_half_a_minute_off(idp: Provider, claims: dict[str, Any]) -> None:
    """And one of several audiences is enough."""
    assert await trusting(idp).principal(idp.token(**claims)) == ANN


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["fleet-admins", "fleet-viewers"]}, Role.ADMIN),
        ({"groups": "fleet-viewers"}, Role.VIEWER),
        ({"groups": ["strangers", 7, None, {}]}, None),
        ({"groups": {"fleet-admins": True}}, None),
        ({"groups": None}, None),
    ],
)
async def test_the_highest_of_the_mapped_roles_counts(idp: Provider, claims: dict[str, Any], role: Role | None) -> None:
    """Without any, somebody is known and may do nothing."""
    assert await trusting(idp).principal(idp.token(**claims)) == Principal("oidc:ann", role)


@pytest.mark.parametrize(
    ("sites", "labels"),
    [
        ({"site": "north"}, (("site", "north"),)),
        (["site=north", "line=a"], (("line", "a"), ("site", "north"))),
        ("site=north", (("site", "north"),)),
        ([], None),
        (None, None),
        ({"site": 7}, None),
        (["site=north", 7], None),
        (["site"], None),
        ({"si te": "north"}, None),
    ],
)
async def test_labels_limit_or_forbid_everything(
    idp: Provider, sites: object, labels: tuple[tuple[str, str], ...] | None
) -> None:
    """Where limits are expected, a token without readable ones gives no role; a claim may lie within others."""
    settings: dict[str, Any] = {"labels_claim": "headwater.limits", "role_claim": "headwater.roles"}
    told: dict[str, Any] = {"headwater": {"limits": sites, "roles": ["fleet-operators"]}}
    expected = Principal("oidc:ann", Role.OPERATOR, labels) if labels else Principal("oidc:ann", None)
    assert await trusting(idp, **settings).principal(idp.token(**told)) == expected


async def test_a_signature_of_another_key_is_none(idp: Provider) -> None:
    """Under the published key's name, under its own, under none, or brought along in the header."""
    forger = rsa("forger")
    trusted = trusting(idp)
    for header in (
        {"kid": "rsa-1"},
        {"kid": "forger"},
        {"kid": None},
        {"kid": "rsa-1", "jwk": forger.as_dict(private=False)},
        {"kid": "rsa-1", "jku": f"{idp.url}/forger"},
    ):
        with pytest.raises(Unproven):
            await trusted.principal(idp.token(forger, header))
    assert "/forger" not in idp.asked


async def test_algorithms_that_are_not_pinned_are_refused_before_anything_is_fetched(idp: Provider) -> None:
    """None, the public key as an HMAC secret, and a weaker cousin."""
    none = idp.token(header={"alg": "none"})
    assert none.endswith(".")
    for token in (none, idp.confused(rsa().as_pem(private=False)), idp.token(header={"alg": "RS512"})):
        with pytest.raises(Unproven, match="algorithm"):
            await trusting(idp).principal(token)
    assert idp.asked == []


async def test_keys_that_are_unfit_are_as_good_as_not_published() -> None:
    """Symmetric ones, those for encryption, those for another algorithm, short ones; garbage among them harms none."""
    with pytest.warns(match="2048"):
        short = rsa("short", 1024)
    good = rsa()
    with provider(good) as idp:
        encryption, other = rsa("enc"), rsa("other")
        told: list[Any] = [
            symmetric(b"secret" * 10).as_dict(private=True),
            encryption.as_dict(private=False, use="enc"),
            other.as_dict(private=False, alg="PS256"),
            short.as_dict(private=False),
            {"kty": ["RSA"]},
            {"kty": "RSA", "n": "?"},
            "RSA",
            good.as_dict(private=False),
        ]
        idp.answers["/keys"] = 200, json.dumps({"keys": told}).encode()
        trusted = trusting(idp)
        assert await trusted.principal(idp.token()) == ANN
        for key in (encryption, other, short):
            with pytest.raises(Unproven):
                await trusted.principal(idp.token(key))


async def test_a_key_is_good_for_what_it_is_published_for() -> None:
    """Not for another algorithm, though that is pinned too; a token that names no key means the only one that fits."""
    first, second = rsa("first"), rsa("second")
    small, large = (ECKey.generate_key(curve, {"kid": curve}) for curve in ("P-256", "P-384"))
    with provider(first) as idp:
        told = [
            first.as_dict(private=False, alg="RS256"),
            second.as_dict(private=False, alg="RS512"),
            small.as_dict(private=False),
            large.as_dict(private=False),
        ]
        idp.answers["/keys"] = 200, json.dumps({"keys": told}).encode()
        trusted = trusting(idp, algorithms=("RS256", "RS512", "ES256", "ES384"))
        for key, algorithm in ((first, "RS256"), (second, "RS512"), (small, "ES256"), (large, "ES384")):
            assert await trusted.principal(idp.token(key, {"alg": algorithm})) == ANN
            assert await trusted.principal(idp.token(key, {"alg": algorithm, "kid": None})) == ANN
        for key, algorithm in ((first, "RS512"), (second, "RS256")):
            with pytest.raises(Unproven, match="does not publish"):
                await trusted.principal(idp.token(key, {"alg": algorithm}))


async def test_a_token_for_another_purpose_is_none(idp: Provider) -> None:
    """A logout token, say, is signed by the same key (RFC 8725, 3.11); what is critical and unknown is refused."""
    for header in ({"typ": "logout+jwt"}, {"crit": ["exp"], "exp": 1}):
        with pytest.raises(Unproven):
            await trusting(idp).principal(idp.token(header=header))


async def test_keys_are_fetched_once_an_hour_and_for_an_unknown_one_once_a_minute(idp: Provider) -> None:
    """A flood of tokens with invented keys costs the provider one question a minute; a new key is found by it."""
    clock = FakeClock()
    trusted = trusting(idp, clock, jwks_url=f"{idp.url}/keys")
    assert await asyncio.gather(*(trusted.principal(idp.token()) for _ in range(10))) == [ANN] * 10
    new = rsa("new")
    idp.keys = [new]
    for _ in range(10):
        with pytest.raises(Unproven):
            await trusted.principal(idp.token(new))
    assert len(idp.asked) == 1
    await clock.advance(60)
    assert await trusted.principal(idp.token(new)) == ANN
    assert len(idp.asked) == 2
    await clock.advance(200)
    with pytest.raises(Unproven):  # a key that was taken back is not good any more
        await trusted.principal(idp.token(rsa()))
    assert len(idp.asked) == 3
    await clock.advance(3600)
    assert await trusted.principal(idp.token(new, exp=NOW + 9000)) == ANN
    assert len(idp.asked) == 4


async def test_a_provider_that_is_away_for_a_day_locks_nobody_out(idp: Provider) -> None:
    """Its last keys hold so long; then, and before there were any, nothing can be checked."""
    clock = FakeClock()
    trusted, never = trusting(idp, clock), trusting(idp, clock)
    token = idp.token(exp=NOW + 10**6)
    assert await trusted.principal(token) == ANN
    idp.answers["/keys"] = 503, b"{}"
    with pytest.raises(ProviderAway):
        await never.principal(token)
    await clock.advance(23 * 3600)
    assert await trusted.principal(token) == ANN
    await clock.advance(3600)
    with pytest.raises(ProviderAway):
        await trusted.principal(token)
    del idp.answers["/keys"]
    await clock.advance(10)
    assert await trusted.principal(token) == ANN


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (DISCOVERY, 302, b"{}"),
        (DISCOVERY, 200, b"[]"),
        (DISCOVERY, 200, b"<html>"),
        (DISCOVERY, 200, b'{"issuer": "https://evil.example", "jwks_uri": "{url}/keys"}'),
        (DISCOVERY, 200, b'{"issuer": "{url}", "jwks_uri": "http://evil.example/keys"}'),
        (DISCOVERY, 200, b'{"issuer": "{url}"}'),
        ("/keys", 200, b'{"keys": 7}'),
        ("/keys", 200, b'{"keys": []' + b" " * 300_000 + b"}"),
        ("/keys", 200, b"[" * 100_000),
    ],
)
async def test_a_provider_s_nonsense_is_as_good_as_no_answer(
    idp: Provider, path: str, status: int, body: bytes
) -> None:
    """Redirects, another issuer, keys over plain HTTP from elsewhere, and what is too large or no JSON."""
    idp.answers[path] = status, body.replace(b"{url}", idp.url.encode())
    with pytest.raises(ProviderAway):
        await trusting(idp).principal(idp.token())


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"issuer": "http://idp.example"}, "https"),
        ({"issuer": "ftp://127.0.0.1"}, "https"),
        ({"issuer": "https://"}, "https"),
        ({"issuer": "https://[::1"}, "https"),
        ({"jwks_url": "http://10.0.0.1/keys"}, "https"),
        ({"algorithms": ()}, "algorithms|choose"),
        ({"algorithms": ("RS256", "HS256")}, "choose"),
        ({"algorithms": ("none",)}, "choose"),
    ],
)
def test_settings_that_cannot_be_safe_stop_the_start(settings: dict[str, Any], word: str) -> None:
    """Keys that somebody on the way could replace, and algorithms that everybody could sign with."""
    with pytest.raises(BadProvider, match=word):
        OidcProvider(Provider("https://idp.example").settings(**settings), FakeClock())


def encoded(header: object) -> str:
    """Put a header before a body that says nothing, and a signature of nothing."""
    return f"{urlsafe_b64encode(json.dumps(header).encode()).rstrip(b'=').decode()}.e30.AAAA"


TREES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x)
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["RS256", "ES256", "EdDSA", "none", "HS256"]) | TREES},
    optional={"kid": TREES, "typ": st.just("JWT") | TREES, "crit": TREES, "b64": st.booleans()},
)
JUNK = st.one_of(
    st.text(max_size=60),
    st.lists(st.from_regex(r"[A-Za-z0-9_-]{0,40}", fullmatch=True), min_size=1, max_size=5).map(".".join),
    TREES.map(encoded),
    HEADERS.map(encoded),
)


@given(JUNK)
def test_whatever_comes_as_a_token_is_refused_in_words(text: str) -> None:
    """No text that nobody signed gets in, and none makes the check fail."""
    told = Provider("https://127.0.0.1:1")  # nobody is there, so what asks for a key ends at once
    with pytest.raises((Unproven, ProviderAway)):
        asyncio.run(OidcProvider(told.settings(), FakeClock()).principal(text))


def test_roles_are_read_from_a_setting() -> None:
    """Several by semicolon; the last equals sign counts."""
    text = " fleet-admins = admin; cn=eyes,ou=plant=viewer ;; x=operator"
    assert roles_from(text) == {"fleet-admins": Role.ADMIN, "cn=eyes,ou=plant": Role.VIEWER, "x": Role.OPERATOR}
    assert roles_from("") == {}
    for wrong in ("admin", "=admin", "a=king", "a=admin=", "a=Admin"):
        with pytest.raises(ValueError, match="VALUE=ROLE"):
            roles_from(wrong)
