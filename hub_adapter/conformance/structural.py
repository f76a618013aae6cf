"""What can be said of an adapter without any system: its spec, its settings, its methods, and what its failures mean.

    class TestShop(StructuralSuite):
        adapter = ShopAdapter()
        config = {"base_url": "https://shop.example.com"}
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from jsonschema import Draft202012Validator

from hub_adapter.client import NETWORK_PROPERTIES, HttpPolicy, Transport
from hub_adapter.conformance.outcome import NotShown, proves
from hub_adapter.failure import (
    AdapterError,
    AlreadyExists,
    AuthRefused,
    DependencyMissing,
    ErrorClass,
    InDoubt,
    Invalid,
    NotFound,
    RateLimited,
    TargetGone,
    TryLater,
    VersionConflict,
)
from hub_adapter.port import Adapter, AdapterBase, AdapterSpec, Capability, Context, Refreshing

MEANINGS: Mapping[type[AdapterError], ErrorClass] = {
    AdapterError: ErrorClass.ADAPTER_ERROR,
    TryLater: ErrorClass.TRANSIENT,
    InDoubt: ErrorClass.AMBIGUOUS,
    RateLimited: ErrorClass.RATE_LIMITED,
    AuthRefused: ErrorClass.AUTH,
    Invalid: ErrorClass.INVALID,
    AlreadyExists: ErrorClass.ALREADY_EXISTS,
    NotFound: ErrorClass.NOT_FOUND,
    TargetGone: ErrorClass.GONE,
    VersionConflict: ErrorClass.VERSION_CONFLICT,
    DependencyMissing: ErrorClass.DEPENDENCY_MISSING,
}
ANSWERED: Mapping[Capability, str] = {
    Capability.INCREMENTAL: "changes",
    Capability.WEBHOOK: "parse_webhook",
    Capability.REFRESH: "refresh",
}
"""Capability → the method that answers it."""
CREDENTIAL = re.compile(r"(?i)password|passwd|secret|token|api_?key|credential")
MADE_UP = "not-a-real-credential"
SHORTEST_SECRET = 8
"""A shorter one, a user's name say, stands in too many innocent texts to be looked for."""


class StructuralSuite:
    """Derive, name the adapter and settings of a connection that could be one; the checks are inherited.

    Attributes:
        adapter: the adapter under test.
        config: a connection's settings, valid against the spec's schema. Nobody is called at its address.
        secrets: well-formed values of the spec's secret fields; made up where left out.
    """

    adapter: ClassVar[Adapter]
    config: ClassVar[Mapping[str, Any]] = {}
    secrets: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def settings(self) -> Mapping[str, Any]:
        """The settings that the checks of this half use."""
        return self.config

    @pytest.fixture
    def credential(self) -> Mapping[str, str]:
        """The secrets that the checks of this half use."""
        return {name: self.secrets.get(name, f"{MADE_UP}-{name}") for name in self.adapter.spec.secret_fields}

    @pytest.fixture
    def cut_off(self, settings: Mapping[str, Any], credential: Mapping[str, str]) -> Iterator[Callable[..., Context]]:
        """Opens a context whose session reaches nobody; `cut_off(config=…, secrets=…)` changes the connection."""
        transport = Transport(HttpPolicy())

        def opened(config: Mapping[str, Any] = settings, secrets: Mapping[str, str] = credential) -> Context:
            return Context(
                http=transport.session(secrets=secrets.values(), admit=_nobody),
                secrets=secrets,
                config=config,
                clock=lambda: datetime.now(UTC),
                deadline=datetime.now(UTC) + timedelta(seconds=25),
            )

        yield opened
        transport.close()

    # --- the spec ----------------------------------------------------------------------------------------------------

    def test_the_spec_is_one_that_the_hub_can_list(self) -> None:
        spec = self.adapter.spec
        assert isinstance(spec, AdapterSpec), "`spec` has to be an AdapterSpec"
        assert re.fullmatch("[a-z][a-z0-9_]{0,59}", spec.name), f"{spec.name!r} is no name: small letters, digits and _"
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", spec.version), f"version {spec.version!r} has to be like 1.0.0"
        assert spec.title.strip(), "an administrator chooses by `title`"
        assert spec.entities, "an adapter without entities brings nothing"
        assert len(set(spec.entities)) == len(spec.entities), "an entity is named twice"

    def test_the_limits_can_be_kept(self) -> None:
        limits = self.adapter.spec.limits
        assert limits.rate_per_s is None or limits.rate_per_s >= 0.4, "rate_per_s has to be at least 0.4"
        assert min(limits.burst, limits.max_in_flight, limits.page_size) >= 1, "burst, max_in_flight, page_size from 1"

    def test_the_settings_schema_is_one_that_a_form_can_be_made_of(self) -> None:
        schema = self.adapter.spec.config_schema
        Draft202012Validator.check_schema(schema)
        properties = schema.get("properties", {})
        assert schema.get("type") == "object", "a connection's settings are an object"
        assert schema.get("additionalProperties") is False, "a mistyped setting has to be refused"
        assert set(schema.get("required", ())) <= properties.keys(), "`required` names what `properties` lacks"
        assert set(self.adapter.spec.address or ()) <= properties.keys(), "`address` names what `properties` lacks"
        silent = sorted(name for name, one in properties.items() if not one.get("description"))
        assert not silent, f"an administrator reads the description: {silent} have none"
        lacking = sorted(NETWORK_PROPERTIES.keys() - properties.keys())
        assert not lacking, f"add hub_adapter.client.NETWORK_PROPERTIES: {lacking} are missing"

    def test_a_credential_is_a_secret_and_never_a_setting(self) -> None:
        spec = self.adapter.spec
        assert len(set(spec.secret_fields)) == len(spec.secret_fields), "a secret field is named twice"
        assert all(name.isidentifier() for name in spec.secret_fields), "a secret field is a plain name"
        properties = spec.config_schema.get("properties", {})
        shown = sorted(name for name in properties if name in spec.secret_fields or CREDENTIAL.search(name))
        assert not shown, f"settings are shown to people: {shown} belong to `secret_fields`"

    def test_the_settings_given_are_valid(self, settings: Mapping[str, Any]) -> None:
        wrong = [error.message for error in Draft202012Validator(self.adapter.spec.config_schema).iter_errors(settings)]
        assert not wrong, f"the suite's own settings are refused by the schema: {wrong}"

    # --- the methods -------------------------------------------------------------------------------------------------

    def test_every_call_of_the_port_is_answered(self) -> None:
        assert isinstance(self.adapter, Adapter), "a method is missing: derive from hub_adapter.port.AdapterBase"
        for name in ("check", "get", "find", "write", "delete", "list", "changes", "parse_webhook", "expected",
                     "classify"):  # fmt: skip
            asked = list(inspect.signature(getattr(Adapter, name)).parameters)[1:]
            taken = list(inspect.signature(getattr(self.adapter, name)).parameters)[: len(asked)]
            assert taken == asked, f"{name} takes {taken}; the hub calls it with {asked}"

    def test_a_method_and_its_capability_come_together(self) -> None:
        spec = self.adapter.spec
        for capability, method in ANSWERED.items():
            declared = capability in spec.capabilities
            if capability is Capability.REFRESH:
                written = isinstance(self.adapter, Refreshing)
            else:
                written = getattr(type(self.adapter), method, None) is not getattr(AdapterBase, method)
            assert not declared or written, f"{capability} is declared and {method} is not written"
            assert declared or not written, f"{method} is written: declare {capability}, or the hub never calls it"
        assert Capability.INCREMENTAL not in spec.capabilities or spec.pulled, "`pulled` has to name what changes tells"

    # --- failures ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("raised", MEANINGS, ids=lambda raised: raised.__name__)
    def test_what_is_raised_on_purpose_keeps_its_meaning(self, raised: type[AdapterError]) -> None:
        error = raised("said", seconds=7.0, field="/name", http_status=418, dependency="customer")
        told = self.adapter.classify(error)
        assert told.error_class is MEANINGS[raised], f"{raised.__name__} is told as {told.error_class}"
        assert (told.message, told.retry_after_s, told.field) == ("said", 7.0, "/name"), "what it says is lost"

    def test_a_defect_is_told_as_one(self) -> None:
        for defect in (KeyError("name"), ValueError("no number"), RuntimeError("")):
            told = self.adapter.classify(defect)
            assert told.error_class is ErrorClass.ADAPTER_ERROR, f"{defect!r} is told as {told.error_class}"
            assert told.message, f"{defect!r} is told without a word"

    def test_check_tells_of_a_system_out_of_reach_instead_of_raising(self, cut_off: Callable[..., Context]) -> None:
        told = self.adapter.check(cut_off())
        assert not told.ok, "check says that a system out of reach would work"
        assert all(problem.field and problem.message for problem in told.problems), "a problem names its setting"

    def test_check_names_the_settings_that_are_missing(self, cut_off: Callable[..., Context]) -> None:
        schema = self.adapter.spec.config_schema
        named = {problem.field for problem in self.adapter.check(cut_off(config={})).problems}
        missing = sorted(set(schema.get("required", ())) - named)
        assert not missing, f"check({{}}) has to name every missing setting at once; it leaves out {missing}"

    def test_a_call_that_cannot_be_made_is_told_as_such(self, cut_off: Callable[..., Context]) -> None:
        with pytest.raises(AdapterError) as lost:
            self.adapter.get(cut_off(), self.adapter.spec.entities[0], "1")
        assert self.adapter.classify(lost.value).error_class is ErrorClass.TRANSIENT, "nothing arrived: try later"

    @proves(Capability.WEBHOOK)
    def test_a_message_without_signature_is_refused(self, cut_off: Callable[..., Context]) -> None:
        for headers in ({}, {"X-Signature": "sha256=00"}):
            with pytest.raises(AuthRefused):
                self.adapter.parse_webhook(cut_off(), headers, b"{}")

    # --- secrets -----------------------------------------------------------------------------------------------------

    def test_no_secret_is_told_where_nobody_is_reached(
        self, cut_off: Callable[..., Context], credential: Mapping[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        sought = [secret for secret in credential.values() if len(secret) >= SHORTEST_SECRET]
        if not sought:
            raise NotShown("no secret is long enough to be looked for")
        caplog.set_level(logging.DEBUG)
        said = [str(self.adapter.check(cut_off())), repr(self.adapter), repr(vars(self.adapter))]
        for call in (lambda: self.adapter.get(cut_off(), self.adapter.spec.entities[0], "1"),
                     lambda: self.adapter.list(cut_off(), self.adapter.spec.entities[0], None, 1)):  # fmt: skip
            try:
                call()
            except AdapterError as error:
                said.append(f"{error} {self.adapter.classify(error)}")
        everything = "\n".join([*said, *caplog.messages])
        assert not [secret for secret in sought if secret in everything], "a secret stands in what is told or logged"


def _nobody() -> None:
    raise TryLater("this session reaches nobody")
