"""Adapters with one thing wrong each, and the checks that find it; tests/adapters/test_naive_adapter.py runs them.

What decorates a mutant makes the suite of it, so its name begins with `Test`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hub_adapter.conformance.checks.failures import FailureChecks
from hub_adapter.conformance.checks.hearing import HearingChecks
from hub_adapter.conformance.checks.manners import MannerChecks
from hub_adapter.conformance.checks.once import OnceChecks
from hub_adapter.conformance.records import RecordsAdapter, send
from hub_adapter.conformance.structural import StructuralSuite
from hub_adapter.conformance.suite import ConformanceSuite
from hub_adapter.conformance.system import System
from hub_adapter.conformance.target import STAMP, RecordsTarget, running
from hub_adapter.failure import AdapterError, AuthRefused, Failure, InDoubt, Invalid, NotFound, RateLimited, TryLater
from hub_adapter.port import Capability, Change, Context, Limits, Page, Refreshed, Remote, Write, Written
from tests.adapters.test_records_adapter import records_system

RECORDS = RecordsAdapter.spec
PROPERTIES = RECORDS.config_schema["properties"]


@pytest.fixture(scope="module")
def target() -> Iterator[RecordsTarget]:
    yield from running()


def fails(room: type[StructuralSuite], *checks: str) -> Callable[[type[RecordsAdapter]], type[StructuralSuite]]:
    """Make the suite of a mutant: all of a room's checks, of which these and no others fail."""

    def suite(mutant: type[RecordsAdapter]) -> type[StructuralSuite]:
        said = {"adapter": mutant(), "config": {"base_url": "https://records.example.com"}, "fails": frozenset(checks)}
        return type(mutant.__name__, (room,), said | {"__doc__": mutant.__doc__, "system": pytest.fixture(_system)})

    return suite


def _system(self: StructuralSuite, target: RecordsTarget) -> Iterator[System]:
    target.unique = not isinstance(self.adapter, _Doubling)
    yield records_system(target)
    target.unique = True


class _Doubling(RecordsAdapter):
    """Its system takes a key as often as it is sent."""


# --- one record stays one ---------------------------------------------------------------------------------------------


@fails(OnceChecks, "two workers at once make one record")
class TestCallsALookAKey(_Doubling):
    """Declares `idempotency_key` of a system that knows no keys."""


@fails(OnceChecks, "a record is found by our id")
class TestTakesAPartForTheWhole(RecordsAdapter):
    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        found = super().find(ctx, entity, keys)
        return found or [one for one in self.list(ctx, entity, None, 1000).items if one.body["id"][:-1] == keys["id"]]


@fails(OnceChecks, "a record is found by its natural key")
class TestNamesAKeyThatItDoesNotKnow(RecordsAdapter):
    spec = replace(RECORDS, natural_keys={"note": "text"})


@fails(OnceChecks, "a record is written in one request whether it is there or not")
class TestCallsTwoRequestsAnUpsert(RecordsAdapter):
    spec = replace(RECORDS, capabilities=RECORDS.capabilities | {Capability.NATIVE_UPSERT})


@fails(OnceChecks, "a bound record that is gone is told as gone")
class TestMakesAnewWhatIsGone(RecordsAdapter):
    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        try:
            return super().write(ctx, entity, cmd)
        except NotFound:
            return super().write(ctx, entity, replace(cmd, external_id=None))


# --- what an answer means ---------------------------------------------------------------------------------------------


@fails(FailureChecks, "every status of a question has its class")
class TestTakesARefusedQuestionForNone(RecordsAdapter):
    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        try:
            return super().get(ctx, entity, external_id)
        except Invalid:
            return None


@fails(
    ConformanceSuite,
    "an answer lost after the system acted ends in one record",
    "every declared capability is proven",  # each is, and the guarantee is not earned
    "a line that breaks or hangs has its class",
    "every status of a change has its class",
    "what is raised on purpose keeps its meaning",
)
class TestTakesALostAnswerForNothingDone(RecordsAdapter):
    def classify(self, error: BaseException) -> Failure:
        return super().classify(TryLater(str(error)) if isinstance(error, InDoubt) else error)


@fails(FailureChecks, "a page to sign in is not taken for an answer")
class TestTakesAPageForNone(RecordsAdapter):
    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        reply = send(ctx, "GET", f"/records/{entity}/{external_id}")
        told = not reply.ok or "json" in reply.headers.get("Content-Type", "")
        return super().get(ctx, entity, external_id) if told else None


# --- what is heard ----------------------------------------------------------------------------------------------------


@fails(HearingChecks, "the first poll tells of everything and the next has an end")
class TestBeginsWithWhatComes(RecordsAdapter):
    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        if checkpoint is not None:
            return super().changes(ctx, entity, checkpoint, limit)
        return replace(super().changes(ctx, entity, None, 1000), items=())


@fails(HearingChecks, "a failed poll tells nothing")
class TestTakesAFailedPollForNoNews(RecordsAdapter):
    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        try:
            return super().changes(ctx, entity, checkpoint, limit)
        except TryLater:
            return Page(items=(), next_cursor=checkpoint or "0", complete=True)


class _Retelling(RecordsAdapter):
    """Tells of a message in its own way."""

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        return [self.retold(ctx, change) for change in super().parse_webhook(ctx, headers, body)]

    def retold(self, ctx: Context, change: Change) -> Change:
        raise NotImplementedError


@fails(HearingChecks, "a signed message tells how the record stands")
class TestGivesAMessageAVersionOfItsOwn(_Retelling):
    def retold(self, ctx: Context, change: Change) -> Change:
        return replace(change, version=f"told {change.version}")


@fails(HearingChecks, "a message that is repeated or late can be told")
class TestStampsAMessageAnew(_Retelling):
    def retold(self, ctx: Context, change: Change) -> Change:
        return replace(change, changed_at=ctx.clock())


@fails(HearingChecks, "an old message is refused however well it is signed")
class TestTakesAMessageOfAnyAge(RecordsAdapter):
    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        stamp = self.spec.signed(headers).get(STAMP.lower(), "0")
        then = datetime.fromtimestamp(int(stamp), UTC) if stamp.isdigit() else ctx.clock()
        return super().parse_webhook(replace(ctx, clock=lambda: then), headers, body)


@fails(HearingChecks, "a message is one by its body and its signed headers")
class TestLeavesASignedHeaderOut(RecordsAdapter):
    spec = replace(RECORDS, signed_headers=())

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        return RecordsAdapter().parse_webhook(ctx, headers, body)


@fails(HearingChecks, "a message is one by its body and its signed headers")
class TestReadsASignatureInAnySpelling(RecordsAdapter):
    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        return super().parse_webhook(ctx, {name: value.strip().lower() for name, value in headers.items()}, body)


@fails(HearingChecks, "a refresh that is refused asks for a person")
class TestTradesARefusedCredentialForNothing(RecordsAdapter):
    def refresh(self, ctx: Context) -> Refreshed:
        try:
            return super().refresh(ctx)
        except AuthRefused:
            return Refreshed(secrets={})


# --- manners ----------------------------------------------------------------------------------------------------------


@fails(MannerChecks, "no more is sent than the rate allows")
class TestTakesItsOwnLimitForTheirs(RecordsAdapter):
    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        try:
            return super().write(ctx, entity, cmd)
        except RateLimited as error:
            raise TryLater(str(error)) from error


# --- without a system -------------------------------------------------------------------------------------------------


@fails(StructuralSuite, "the spec is one that the hub can list")
class TestHasANameForPeople(RecordsAdapter):
    spec = replace(RECORDS, name="Records to practise on")


@fails(StructuralSuite, "the limits can be kept")
class TestBearsNothing(RecordsAdapter):
    spec = replace(RECORDS, limits=Limits(rate_per_s=0))


@fails(StructuralSuite, "the settings schema is one that a form can be made of")
class TestDescribesNoSetting(RecordsAdapter):
    spec = replace(RECORDS, config_schema={**RECORDS.config_schema, "properties": {**PROPERTIES, "book": {}}})


@fails(StructuralSuite, "a credential is a secret and never a setting")
class TestShowsAToken(RecordsAdapter):
    spec = replace(RECORDS, config_schema={**RECORDS.config_schema, "properties": {
        **PROPERTIES, "token": {"description": "As they sent it."}}})  # fmt: skip


@fails(StructuralSuite, "the settings given are valid")
class TestRefusesItsOwnSettings(RecordsAdapter):
    spec = replace(RECORDS, config_schema={**RECORDS.config_schema, "properties": {
        **PROPERTIES, "base_url": {**PROPERTIES["base_url"], "pattern": "^ftp://"}}})  # fmt: skip


@fails(StructuralSuite, "every call of the port is answered")
class TestTakesAnotherArgument(RecordsAdapter):
    def get(self, ctx: Context, entity: str, id: str) -> Remote | None:
        return super().get(ctx, entity, id)


@fails(StructuralSuite, "a method and its capability come together")
class TestKeepsItsRefreshToItself(RecordsAdapter):
    spec = replace(RECORDS, capabilities=RECORDS.capabilities - {Capability.REFRESH})


@fails(StructuralSuite, "a defect is told as one")
class TestTakesADefectForAnOutage(RecordsAdapter):
    def classify(self, error: BaseException) -> Failure:
        return super().classify(error if isinstance(error, AdapterError) else TryLater(str(error)))


@fails(StructuralSuite, "a call that cannot be made is told as such")
class TestTakesAnOutageForNone(RecordsAdapter):
    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        try:
            return super().get(ctx, entity, external_id)
        except TryLater:
            return None
