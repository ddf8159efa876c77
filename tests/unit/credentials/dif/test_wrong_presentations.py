"""Presentations that do not prove what they show."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.credentials.dif.world import DOMAIN, HOLDER, ISSUER, JWT, NOW, OTHER, World, altered, descriptor, failed
from tests.unit.credentials.ld import CITIZENSHIP, V1, Key
from tntcore.credentials.compact import sign_token
from tntcore.credentials.formats import FormatError, HeldCredential
from tntcore.dids.document import DidDocument
from tntcore.errors import DidError


async def test_an_altered_claim(world: World) -> None:
    request = await world.request()
    presentation = altered(await world.present(request, await world.document()))
    assert ("signature", "") in failed(await world.verify(request, presentation))


async def test_a_credential_that_fails_while_the_presentation_holds(world: World) -> None:
    request = await world.request()
    presentation = await world.sign(altered(await world.present(request, await world.document())), request)
    wrong = failed(await world.verify(request, presentation))
    assert ("signature", "credential 0") in wrong
    assert {subject for _, subject in wrong} == {"credential 0"}


async def test_a_token_that_fails_while_the_presentation_holds(world: World) -> None:
    request = await world.request()
    held = await world.token()
    forged = HeldCredential("1", JWT, held.value[:-8] + "AAAAAAAA")
    assert failed(await world.verify(request, await world.present(request, forged))) >= {("signature", "credential 0")}
    values: list[Any] = ["x.y.z", 7, None, {"proof": {}}, ["x"]]
    for value in values:
        claims = _claims(request, [value])
        presentation = await sign_token(claims, HOLDER, HOLDER.kid)
        assert not (await world.verify(request, presentation)).verification.verified


def _claims(request: Any, credentials: Sequence[Any], **more: Any) -> dict[str, Any]:
    entries = [{"id": "resident", "format": "jwt_vc", "path": "$.verifiableCredential[0]"}]
    vp = {
        "@context": [V1],
        "type": ["VerifiablePresentation"],
        "verifiableCredential": list(credentials),
        "presentation_submission": {"descriptor_map": entries},
    }
    options = request["options"]
    return {"iss": HOLDER.did, "nonce": options["challenge"], "aud": options["domain"], "vp": vp, **more}


async def test_tokens_of_another_kind_or_another_signer_are_no_presentation(world: World) -> None:
    request = await world.request()
    held = await world.token()
    good = await sign_token(_claims(request, [held.value]), HOLDER, HOLDER.kid)
    assert (await world.verify(request, good)).verification.verified
    tries = [
        await sign_token(_claims(request, [held.value], iss=OTHER.did), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value]), OTHER, HOLDER.kid),
        await sign_token(_claims(request, [held.value]), OTHER, OTHER.kid),
        await sign_token(_claims(request, [held.value], iss=OTHER.did), OTHER, OTHER.kid),
        await sign_token(_claims(request, [held.value], exp=NOW // 1000 - 1), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], exp="never"), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], nbf=NOW // 1000 + 3_600), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], nonce=None), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], aud=[DOMAIN, "other"]), HOLDER, HOLDER.kid),
    ]
    for presentation in tries:
        assert not (await world.verify(request, presentation)).verification.verified
    # A credential is no presentation of itself, and a presentation no credential.
    with pytest.raises(FormatError):
        await world.verify(request, held.value)
    with pytest.raises(FormatError):
        await world.jwt_vc.verify_credential(good)
    nested = await sign_token(_claims(request, [good]), HOLDER, HOLDER.kid)
    assert ("signature", "credential 0") in failed(await world.verify(request, nested))


async def test_a_credential_of_another_holder(world: World) -> None:
    request = await world.request()
    theirs = await world.document(holder=OTHER.did)
    presentation = await world.present(request, await world.document())
    presentation["verifiableCredential"] = [theirs.value]
    stolen = await world.sign(presentation, request)
    assert failed(await world.verify(request, stolen)) == {("holder-binding", "credential 0")}
    unbound = await world.document()
    del unbound.value["credentialSubject"]["id"]
    del unbound.value["proof"]
    anyones = await world.linked_data.sign(
        unbound.value, ISSUER, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
    )
    presentation["verifiableCredential"] = [anyones]
    bearer = await world.sign(presentation, request)
    assert failed(await world.verify(request, bearer)) == {("holder-binding", "credential 0")}


async def test_a_presentation_that_names_another_holder(world: World) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    named = await world.sign({**presentation, "holder": OTHER.did}, request)
    assert failed(await world.verify(request, named)) == {("holder-binding", "")}
    own = await world.sign({**presentation, "holder": HOLDER.did}, request)
    assert (await world.verify(request, own)).verification.verified


async def test_a_presentation_that_nobody_signed_or_not_to_authenticate(world: World) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    unsigned = {name: value for name, value in presentation.items() if name != "proof"}
    assert ("signature", "") in failed(await world.verify(request, unsigned))
    asserted = await world.linked_data.sign(
        unsigned, HOLDER, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW, **request["options"]
    )
    assert ("signature", "") in failed(await world.verify(request, asserted))
    with pytest.raises(FormatError):
        await world.verify(request, (await world.document()).value)
    values: list[Any] = [
        None,
        7,
        [],
        {},
        {"type": "VerifiablePresentation"},
        {**presentation, "verifiableCredential": []},
    ]
    for value in values:
        with pytest.raises(FormatError):
            await world.verify(request, value)
    many = {**presentation, "verifiableCredential": presentation["verifiableCredential"] * 33}
    with pytest.raises(FormatError):
        await world.verify(request, many)


@pytest.mark.parametrize(
    "submission",
    [
        None,
        {},
        {"descriptor_map": []},
        {"descriptor_map": {}},
        {"descriptor_map": ["x"]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.verifiableCredential[1]"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.verifiableCredential[2]"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.verifiableCredential[*]"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.presentation_submission"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$..*"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc"}]},
        {"descriptor_map": [{"id": "other", "format": "ldp_vc", "path": "$.verifiableCredential[0]"}]},
        {"descriptor_map": [{"id": "resident", "path": "$.verifiableCredential[0]"}] * 501},
        {"definition_id": "other", "descriptor_map": [{"id": "resident", "path": "$.verifiableCredential[0]"}]},
    ],
)
async def test_a_map_that_points_elsewhere(world: World, submission: Any) -> None:
    request = await world.request()
    right, wrong = await world.document(), await world.document(familyName="JONES")
    presentation = await world.present(request, right)
    presentation["verifiableCredential"] = [right.value, wrong.value]
    presentation["presentation_submission"] = submission
    # This suite signs the JSON as it is: in RDF some of these maps would be nothing, or nothing that can be signed.
    del presentation["proof"]
    if submission is None:
        del presentation["presentation_submission"]
    signed = await world.linked_data.sign(
        presentation, HOLDER, suite="eddsa-jcs-2022", purpose="authentication", created_ms=NOW, **request["options"]
    )
    assert failed(await world.verify(request, signed)) == {("request", "")}


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "$.verifiableCredential[0]"},
        {"path": "$.verifiableCredential.[0]"},
        {"path": "$.verifiableCredential"},
        {"path": "$", "path_nested": {"format": "ldp_vc", "path": "$.verifiableCredential[0]"}},
    ],
)
async def test_ways_to_write_a_map(world: World, entry: dict[str, Any]) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    presentation["presentation_submission"]["descriptor_map"] = [{"id": "resident", "format": "ldp_vc", **entry}]
    del presentation["proof"]
    signed = await world.linked_data.sign(
        presentation, HOLDER, suite="eddsa-jcs-2022", purpose="authentication", created_ms=NOW, **request["options"]
    )
    assert (await world.verify(request, signed)).verification.verified


async def test_a_credential_that_nothing_points_at_is_verified_too(world: World) -> None:
    request = await world.request()
    right = await world.document()
    presentation = await world.present(request, right)
    presentation["verifiableCredential"] = [
        right.value,
        altered({"verifiableCredential": [right.value]})["verifiableCredential"][0],
    ]
    wrong = failed(await world.verify(request, await world.sign(presentation, request)))
    assert ("signature", "credential 1") in wrong
    assert {subject for _, subject in wrong} == {"credential 1"}


async def test_a_jwt_inside_json_ld_is_not_what_was_signed(world: World) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    presentation["verifiableCredential"] = [(await world.token()).value]
    del presentation["proof"]
    signed = await world.linked_data.sign(
        presentation, HOLDER, suite="eddsa-jcs-2022", purpose="authentication", created_ms=NOW, **request["options"]
    )
    assert ("signature", "credential 0") in failed(await world.verify(request, signed))


async def test_a_context_that_the_holder_adds_is_no_schema(world: World) -> None:
    by_context = descriptor(schema=[{"uri": CITIZENSHIP}])
    request = await world.request(by_context)
    held = await world.document()
    assert (await world.dif.candidates(request, [held]))[0].credentials == [held.uuid]
    presentation = await world.present(request, held)
    assert failed(await world.verify(request, presentation)) == {("request", "")}
    signed_as_it_is = await world.present(request, await world.document(suite="eddsa-jcs-2022"))
    assert (await world.verify(request, signed_as_it_is)).verification.verified


async def test_a_signer_that_cannot_be_looked_up_now(world: World) -> None:
    request = await world.request()
    for held in (await world.document(), await world.token()):
        presentation = await world.present(request, held)
        world.dids.documents[HOLDER.did] = DidError("unresolvable", "timeout")
        with pytest.raises(DidError):
            await world.verify(request, presentation)
        world.dids.documents[HOLDER.did] = DidError("not-found", "nobody has shown it")
        assert ("signature", "") in failed(await world.verify(request, presentation))
        del world.dids.documents[HOLDER.did]


async def test_a_key_that_is_not_to_authenticate_with(world: World) -> None:
    peer = Key(2, "did:example:peer", "key-1")
    world.dids.put(peer)
    request = await world.request()
    held = await world.token(holder=peer.did)
    presentation = await world.present(request, held, holder=peer)
    assert (await world.verify(request, presentation)).verification.verified
    document = world.dids.documents[peer.did]
    assert isinstance(document, DidDocument)
    world.dids.put(peer, authentication=False)
    assert ("signature", "") in failed(await world.verify(request, presentation))
