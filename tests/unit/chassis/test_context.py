"""The signed context: who it admits, and what it refuses."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt

from chassis.context import ISSUER, TOKEN_TYPE, SigningKey, Subject, Verifier, make_signing_key, mint
from contracts.errors import Unauthenticated

LI = Subject(
    id="u-li",
    kind="user",
    name="li",
    teams=("north",),
    tree=("north", "north-1"),
    depths={"customer": {"read": "team", "change": "own"}, "*": {"export": "none"}},
    roles_version=7,
    via="s-1",
)


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def signing_key(keys_dir: Path, tmp_path: Path) -> SigningKey:
    return make_signing_key(keys_dir, tmp_path / "gateway-signing.pem")


@pytest.fixture
def verifier(keys_dir: Path, signing_key: SigningKey) -> Verifier:
    return Verifier(keys_dir)


def token(signing_key: SigningKey, subject: Subject = LI, audience: str = "sales", **changes: Any) -> str:
    return mint(subject, audience, signing_key, **{"expires_in_s": 5, "jti": "r-1"} | changes)


def forged(signing_key: SigningKey, header: dict[str, Any], **claims: Any) -> str:
    """Return a token signed with the right key over claims of the test's choice."""
    now = time.time()
    body = {"iss": ISSUER, "aud": "sales", "sub": "u", "iat": now, "exp": now + 5, "jti": "r", "kind": "user",
            "name": "n", "teams": [], "tree": [], "depths": {}, "rv": 1, "via": ""} | claims
    body = {name: value for name, value in body.items() if value is not None}
    head = {"alg": "Ed25519", "kid": signing_key.kid, "typ": TOKEN_TYPE} | header
    return jwt.encode(head, body, signing_key.key, algorithms=["Ed25519"])


def part(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def test_the_subject_arrives_as_it_left(verifier: Verifier, signing_key: SigningKey) -> None:
    assert verifier.verify(token(signing_key), "sales") == LI


def test_the_signing_key_is_private_and_its_public_half_is_not(keys_dir: Path, tmp_path: Path) -> None:
    made = make_signing_key(keys_dir, tmp_path / "signing.pem")
    assert (tmp_path / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert b"PUBLIC" in (keys_dir / f"{made.kid}.pub.pem").read_bytes()
    assert SigningKey.load(tmp_path / "signing.pem").kid == made.kid


def test_an_existing_signing_key_is_not_overwritten(keys_dir: Path, tmp_path: Path) -> None:
    make_signing_key(keys_dir, tmp_path / "signing.pem")
    with pytest.raises(FileExistsError):
        make_signing_key(keys_dir, tmp_path / "signing.pem")
    assert len(list(keys_dir.iterdir())) == 1


def test_a_public_key_cannot_sign(keys_dir: Path, signing_key: SigningKey) -> None:
    with pytest.raises(ValueError, match="private key"):
        SigningKey.load(keys_dir / f"{signing_key.kid}.pub.pem")


def test_a_signing_key_that_others_may_read_is_refused_as_the_master_key_is(keys_dir: Path, tmp_path: Path) -> None:
    make_signing_key(keys_dir, tmp_path / "signing.pem")
    (tmp_path / "signing.pem").chmod(0o644)
    with pytest.raises(ValueError, match="has mode 0644; others may read it"):
        SigningKey.load(tmp_path / "signing.pem")


def test_a_token_for_one_service_is_refused_by_another(verifier: Verifier, signing_key: SigningKey) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(token(signing_key, audience="customers"), "sales")


def test_an_expired_token_is_refused_once_the_clocks_cannot_explain_it(
    verifier: Verifier, signing_key: SigningKey
) -> None:
    assert verifier.verify(token(signing_key, now=time.time() - 30), "sales") == LI
    with pytest.raises(Unauthenticated):
        verifier.verify(token(signing_key, now=time.time() - 90), "sales")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_changed_token_is_refused_wherever_it_was_changed(
    verifier: Verifier, signing_key: SigningKey, which: int
) -> None:
    parts = token(signing_key).split(".")
    parts[which] = parts[which][:8] + ("A" if parts[which][8] != "A" else "B") + parts[which][9:]
    with pytest.raises(Unauthenticated):
        verifier.verify(".".join(parts), "sales")


def test_more_rights_cannot_be_written_into_a_token(verifier: Verifier, signing_key: SigningKey) -> None:
    head, body, signature = token(signing_key).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["depths"] = {"*": {"*": "all"}}
    with pytest.raises(Unauthenticated):
        verifier.verify(f"{head}.{part(claims)}.{signature}", "sales")


def test_alg_none_is_refused(verifier: Verifier, signing_key: SigningKey) -> None:
    _, body, _ = token(signing_key).split(".")
    for alg in ("none", "None"):
        with pytest.raises(Unauthenticated):
            verifier.verify(f"{part({'alg': alg, 'kid': signing_key.kid, 'typ': TOKEN_TYPE})}.{body}.", "sales")


def test_the_public_key_is_not_taken_for_a_shared_secret(
    verifier: Verifier, signing_key: SigningKey, keys_dir: Path
) -> None:
    public = (keys_dir / f"{signing_key.kid}.pub.pem").read_bytes()
    _, body, _ = token(signing_key).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    head = {"alg": "HS256", "kid": signing_key.kid, "typ": TOKEN_TYPE}
    signed = f"{part(head)}.{part(claims)}"
    mac = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        verifier.verify(f"{signed}.{mac}", "sales")


def test_a_token_of_another_type_or_issuer_is_refused(verifier: Verifier, signing_key: SigningKey) -> None:
    assert verifier.verify(forged(signing_key, {}), "sales").id == "u"
    for header, claims in [({"typ": "JWT"}, {}), ({}, {"iss": "somebody"}), ({}, {"iss": None})]:
        with pytest.raises(Unauthenticated):
            verifier.verify(forged(signing_key, header, **claims), "sales")


@pytest.mark.parametrize("missing", ["aud", "exp", "sub", "kind", "depths", "teams", "rv"])
def test_a_token_without_a_needed_claim_is_refused(
    verifier: Verifier, signing_key: SigningKey, missing: str
) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(forged(signing_key, {}, **{missing: None}), "sales")


@pytest.mark.parametrize(
    "claims", [{"kind": "god"}, {"depths": []}, {"depths": {"a": "all"}}, {"exp": "soon"}, {"teams": 3}]
)
def test_claims_of_the_wrong_kind_are_refused(
    verifier: Verifier, signing_key: SigningKey, claims: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(forged(signing_key, {}, **claims), "sales")


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "..", "é.b.c", "a.b.c.d.e"])
def test_what_is_no_token_is_refused(verifier: Verifier, text: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier.verify(text, "sales")


def test_a_depth_that_is_not_known_here_grants_nothing(verifier: Verifier, signing_key: SigningKey) -> None:
    subject = verifier.verify(forged(signing_key, {}, depths={"customer": {"read": "galaxy"}}), "sales")
    assert subject.depth("customer", "read") == "none"


def test_a_stranger_s_key_is_unknown_whatever_its_kid_says(verifier: Verifier, tmp_path: Path) -> None:
    stranger = make_signing_key(tmp_path / "elsewhere", tmp_path / "elsewhere.pem")
    with pytest.raises(Unauthenticated, match="unknown key"):
        verifier.verify(token(stranger), "sales")
    climber = SigningKey(kid="../elsewhere/" + stranger.kid, key=stranger.key)
    with pytest.raises(Unauthenticated, match="unknown key"):
        verifier.verify(token(climber), "sales")


def test_two_signing_keys_overlap_while_they_are_changed(
    keys_dir: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    verifier = Verifier(keys_dir, reread_every_s=0)
    old = token(signing_key)
    assert verifier.verify(old, "sales") == LI
    newer = make_signing_key(keys_dir, tmp_path / "next.pem")
    assert verifier.verify(token(newer), "sales") == LI
    assert verifier.verify(old, "sales") == LI


def test_unknown_keys_cannot_make_a_service_read_its_disk_all_day(
    keys_dir: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    verifier = Verifier(keys_dir, reread_every_s=3600)
    assert verifier.verify(token(signing_key), "sales") == LI
    newer = make_signing_key(keys_dir, tmp_path / "next.pem")
    with pytest.raises(Unauthenticated):
        verifier.verify(token(newer), "sales")


def test_rights_add_up_and_the_widest_entry_counts() -> None:
    subject = Subject("u", "user", "u", depths={
        "customer": {"read": "own", "*": "team"},
        "*": {"read": "tree"},
    })
    assert subject.depth("customer", "read") == "tree"
    assert subject.depth("customer", "change") == "team"
    assert subject.depth("order", "read") == "tree"
    assert subject.depth("order", "change") == "none"


def test_a_service_acts_with_what_it_is_granted() -> None:
    assert Subject.service("integrations").depth("order", "read") == "all"
    narrow = Subject.service("gateway", {"session": {"introspect": "all"}})
    assert narrow.depth("order", "read") == "none"
    assert narrow.kind == "service"
