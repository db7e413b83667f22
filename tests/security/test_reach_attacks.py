"""Attacks by who is limited to labels, on what lies beyond them: each test is one, and shows that it fails."""

import httpx
from headwater_control.core.authority import Role
from headwater_control.service.world import World

from tests.control_plane.gates.http.test_problems import problem
from tests.support.front_door import bearing, state, token


async def test_a_limited_token_sees_nothing_beyond_its_labels(world: World, http: httpx.AsyncClient) -> None:
    """Neither listed nor shown nor watched: what is out of reach is not there, in the same words as what never was."""
    north = await token(world, Role.APPROVER, site="north")
    for nouns, own, beyond in (
        ("devices", ["box-north"], ["box-south"]),
        ("runs", ["run-000002"], ["run-000001", "run-000003"]),
        ("rollouts", ["rollout-000002"], ["rollout-000001", "rollout-000003"]),
    ):
        assert [item["id"] for item in (await http.get(f"/v1/{nouns}", headers=north)).json()] == own
        assert (await http.get(f"/v1/{nouns}/{own[0]}", headers=north)).status_code == 200
        never = problem(await http.get(f"/v1/{nouns}/never", headers=north), 404)["detail"]
        for name in beyond:
            told = problem(await http.get(f"/v1/{nouns}/{name}", headers=north), 404)["detail"]
            assert told == never.replace("never", name)
    problem(await http.get("/v1/runs/run-000003/events", headers=north), 404)
    assert (await http.get("/v1/devices?label=site=south", headers=north)).json() == []
    shown = (await http.get("/v1/devices/box-north", headers=north)).text
    assert "run-000002" in shown
    assert "run-000003" not in shown


async def test_a_limited_token_changes_nothing_beyond_its_labels(world: World, http: httpx.AsyncClient) -> None:
    """Not what is there, nothing new, and no model, which is everybody's; within its labels it may."""
    north = await token(world, Role.APPROVER, site="north")
    before = await state(world)
    run = {"model": "digits", "dataset": "digits"}
    attacks = [
        http.post("/v1/runs", json=run, headers=north),
        http.post("/v1/runs", json={**run, "cohort": {"site": "south"}}, headers=north),
        http.post("/v1/rollouts", json={"version": "digits-1"}, headers=north),
        http.post("/v1/rollouts", json={"version": "digits-1", "labels": {"site": "south"}}, headers=north),
        http.post("/v1/models?name=m&loss=mse", content=b"graph", headers=north),
        http.post("/v1/versions?model=digits&format=npz", content=b"numbers", headers=north),
        *(
            http.post(f"/v1/runs/run-00000{n}/{verb}", headers=north)
            for n in (1, 3)
            for verb in ("pause", "resume", "cancel")
        ),
        *(http.post(f"/v1/rollouts/rollout-00000{n}/cancel", headers=north) for n in (1, 3)),
    ]
    for attack in attacks:
        assert "limited to site=north" in problem(await attack, 403)["detail"]
    assert await state(world) == before
    assert (await http.post("/v1/runs/run-000002/pause", headers=north)).status_code == 200
    more = {**run, "cohort": {"site": "north"}}
    assert (await http.post("/v1/runs", json=more, headers=north)).status_code == 201


async def test_a_limited_admin_gets_no_further_by_a_token_of_its_own(world: World, http: httpx.AsyncClient) -> None:
    """It can't make one without its limits, nor read the log that tells of everything."""
    north = await token(world, Role.ADMIN, site="north")
    for labels in ({}, {"site": "south"}, {"line": "a"}):
        answer = await http.post("/v1/tokens", json={"name": "more", "role": "viewer", "labels": labels}, headers=north)
        assert "limited to site=north" in problem(answer, 403)["detail"]
    problem(await http.get("/v1/audit", headers=north), 403)
    problem(await http.get("/v1/audit/verify", headers=north), 403)
    made = await http.post("/v1/tokens", json={"name": "less", "labels": {"site": "north"}}, headers=north)
    assert made.status_code == 201
    seen = (await http.get("/v1/devices", headers=bearing(made.json()["text"]))).json()
    assert [device["id"] for device in seen] == ["box-north"]
