"""What an adapter says that its target takes, is what the hub's own records have for it."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from hub_adapter.port import AdapterSpec
from services.integrations.adapters import registry
from services.integrations.domain import canonical
from services.integrations.routing import PUSHED

FIELDS = [(name, entity) for name in registry.OURS for entity in registry.load(name).spec.fields]


@pytest.mark.parametrize("name", list(registry.OURS))
def test_each_entity_that_is_pushed_has_its_fields(name: str) -> None:
    spec = registry.load(name).spec
    assert spec.fields.keys() == PUSHED & set(spec.entities)


@pytest.mark.parametrize(("name", "entity"), FIELDS)
def test_a_record_that_is_sent_as_it_is_has_what_the_target_takes(name: str, entity: str) -> None:
    schema = registry.load(name).spec.fields[entity]
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(dict(schema))
    for record in canonical.examples(canonical.schema_of(canonical.CONTRACTS[entity])):
        assert list(validator.iter_errors(record)) == []


def test_a_code_table_that_is_no_setting_is_refused() -> None:
    spec = registry.load("tryton").spec
    lost = {"order": {"type": "object", "properties": {"unit": {"codeTable": "units"}}}}
    with pytest.raises(ValueError, match="a code table that is no setting"):
        AdapterSpec(**(vars(spec) | {"fields": lost}))
