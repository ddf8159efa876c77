"""Credentials and proofs by nothing but the command line."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from tests.scenarios.cli.tool import Tool, until


async def waiting(tool: Tool) -> Any:
    """The exchange that waits for the tool's tenant, once there is one."""
    [found] = await until(lambda: tool.json("exchanges", "--waiting"), bool)
    return found


async def test_offered_accepted_asked_shown_and_verified(pair: tuple[Tool, Tool]) -> None:
    acme, bolt = pair
    schema = await acme.json("schemas", "new", "id", "1.0", "name", "age")
    # Its keys take seconds of computing, and more on a busy machine.
    making = await acme.start("definitions", "new", schema["uuid"][-8:], "--tag", "first", "--json")
    output, errors = await asyncio.wait_for(making.communicate(), 120)
    assert making.returncode == 0, errors
    definition = json.loads(output)
    assert [one["uuid"] for one in await acme.json("schemas")] == [schema["uuid"]]
    assert (await acme.json("schemas", "show", schema["uuid"]))["attributes"] == ["name", "age"]
    assert (await acme.json("definitions", "show", definition["uuid"][-8:]))["tag"] == "first"
    assert "name, age" in (await acme.run("definitions")).output
    claims = ("--attribute", "name=Alice", "--attribute", "age=34")
    offering = await acme.start("credentials", "offer", "Bolt", "--definition", definition["uuid"], *claims, "--wait")
    offer = await waiting(bolt)
    await bolt.run("exchanges", "accept", offer["uuid"][-8:])
    output, errors = await offering.communicate()
    assert offering.returncode == 0, errors
    assert "DONE" in output.decode()
    [held] = await until(lambda: bolt.json("credentials", "--status", "held", "--contact", "Acme"), bool)
    assert held["summary"]["claims"] == {"name": "Alice", "age": "34"}
    shown = (await bolt.run("credentials", "show", held["uuid"][-8:])).output
    assert "signature" in shown
    assert "passed" in shown
    assert (await bolt.json("credentials", "verify", held["uuid"]))["verified"]

    asked = await acme.json("proofs", "ask", "Bolt", "--attribute", "name", "--definition", definition["uuid"])
    request = await waiting(bolt)
    [candidate] = await bolt.json("exchanges", "candidates", request["uuid"])
    assert candidate["credentials"] == [held["uuid"]]
    await bolt.run("exchanges", "accept", request["uuid"], "--credential", f"name={held['uuid'][-8:]}")
    done = await until(lambda: acme.json("exchanges", "show", asked["uuid"]), lambda one: one["status"] == "DONE")
    [proof] = await acme.json("proofs", "--role", "verifier")
    assert done["presentationUuids"] == [proof["uuid"]]
    assert "Alice" in (await acme.run("proofs", "show", proof["uuid"])).output
    assert (await acme.json("proofs", "verify", proof["uuid"][-8:]))["verified"]

    # One that is declined, and what cannot be revoked.
    asked = await acme.json("proofs", "ask", "Bolt", "--attribute", "name")
    await bolt.run("exchanges", "reject", (await waiting(bolt))["uuid"], "--reason", "not today")
    ended = await until(lambda: acme.json("exchanges", "show", asked["uuid"]), lambda one: one["status"] != "ACTIVE")
    assert (ended["status"], "not today" in ended["error"]) == ("ABANDONED", True)
    [issued] = await acme.json("credentials", "--role", "issuer")
    # An issuer checks nothing of its own.
    assert re.search(r"^ISSUED +issuer +anoncreds +- ", (await acme.run("credentials")).output, re.MULTILINE)
    assert re.search(r"^HELD +holder +anoncreds +yes ", (await bolt.run("credentials")).output, re.MULTILINE)
    assert "verified" not in (await acme.run("credentials", "show", issued["uuid"])).output
    refused = await acme.run("credentials", "revoke", issued["uuid"], code=1)
    assert "code credential-not-revocable" in refused.errors
    assert "Nothing is to be issued" in (await acme.run("credentials", "issue", ended["uuid"], code=2)).errors
    await bolt.run("credentials", "remove", held["uuid"])
    assert await bolt.json("credentials") == []
    for wrong in (
        ("credentials", "offer", "Bolt"),
        ("credentials", "offer", "Bolt", "--definition", definition["uuid"], "--attribute", "no value"),
        ("proofs", "ask", "Bolt"),
    ):
        await acme.run(*wrong, code=2)


async def test_what_the_partner_requests_is_issued_by_hand_and_revoked(pair: tuple[Tool, Tool]) -> None:
    acme, bolt = pair
    await acme.run("settings", "set", "PRINCIPAL_SETTINGS", "-", piped=json.dumps({"autoIssue": False}))
    credential = {
        "@context": ["https://www.w3.org/2018/credentials/v1", "https://w3id.org/citizenship/v1"],
        "type": ["VerifiableCredential", "PermanentResident"],
        "credentialSubject": {"type": "PermanentResident", "givenName": "Alice"},
    }
    data = {"credential": credential, "options": {"credentialStatus": {"type": "BitstringStatusListEntry"}}}
    await acme.run("credentials", "offer", "Bolt", "--file", "-", piped=json.dumps(data))
    await bolt.run("exchanges", "accept", (await waiting(bolt))["uuid"])
    requested = await waiting(acme)
    await acme.run("credentials", "issue", requested["uuid"])
    [held] = await until(lambda: bolt.json("credentials", "--status", "HELD"), bool)
    [issued] = await acme.json("credentials", "--role", "issuer")
    revoked = await acme.json("credentials", "revoke", issued["uuid"], "--notify", "--comment", "moved")
    assert revoked["status"] == "REVOKED"
    # What stores the notice would meet what stores the check.
    await until(lambda: bolt.json("credentials", "show", held["uuid"]), lambda found: found["revocationNotice"])
    failed = await bolt.run("credentials", "verify", held["uuid"], code=1)
    assert "failed" in failed.output
