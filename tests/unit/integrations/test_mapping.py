"""Mappings: read with the place of every fault, checked on both sides, filled within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from services.integrations.domain import canonical, expressions, mapping, mapping_checks
from services.integrations.domain.codes import Gaps, Lookup
from services.integrations.domain.expressions import ExpressionError, UnmappedCode
from services.integrations.domain.mapping import Unmappable
from services.integrations.domain.plain_yaml import Faulty, read
from services.integrations.routing import PUSHED

TARGET: Mapping[str, Any] = {
    "type": "object", "required": ["name"],
    "properties": {"name": {"type": "string"}, "phone": {"type": ["string", "null"]}, "term": {"type": "integer"},
                   "tags": {"type": "array", "items": {"type": "string"}}}}
CUSTOMER = canonical.schema_of(canonical.CONTRACTS["customer"])
ORDER = canonical.schema_of(canonical.CONTRACTS["order"])


def faults(text: str, *, source: Mapping[str, Any] = CUSTOMER, records: tuple[Any, ...] = (),
           tables: Mapping[str, Any] | None = None) -> list[str]:
    """Return `line:column pointer code` of everything that is wrong with a mapping."""
    with pytest.raises(Faulty) as refused:
        mapping_checks.require_sound(mapping.read(text), source, TARGET, tables or {}, records)
    return [f"{f.place.line}:{f.place.column} {f.place.pointer} {f.code}" for f in refused.value.faults]


def filled(text: str, record: Mapping[str, Any], *, creating: bool = True, **tables: Mapping[str, Any]) -> Any:
    return mapping.read(text).body(record, Lookup(tables), creating=creating)


def test_every_entity_that_travels_has_a_contract_to_map_from() -> None:
    assert canonical.CONTRACTS.keys() == PUSHED


@pytest.mark.parametrize(("text", "told"), [
    ("fields: [", "1:10  syntax"),
    ("fields:\n  name: name\n  name: kind", "3:3 /fields/name twice"),
    ("fields:\n  name: &a name\n  phone: *a", "3:10  alias"),
    ("fields:\n  name: !!python/name:os.system name", "2:9 /fields/name tag"),
    ("rules:\n  name: name", "2:3 /rules shape"),
    ("fields:\n  name: {from: name, form: x}", "2:28 /fields/name/form unknown_field"),
    ("fields:\n  name: {from: name, value: x}", "2:9 /fields/name shape"),
    ("fields:\n  name: {from: 'name[', required: true}", "2:16 /fields/name/from expression"),
    ("fields:\n  name: name\n  consent: {value: {}}", "3:12 /fields/consent not_mapped"),
    ("fields:\n  name: {from: name, required: yes}", "2:32 /fields/name/required type"),
    ("fields:\n  name: \"code(name, 'x')\"", "2:9 /fields/name expression"),
    ("fields:\n  name: {value: !!bool maybe}", "2:17 /fields/name/value type"),
    ("fields:\n  name: {value: !!int ''}", "2:17 /fields/name/value type"),
    (f"fields:\n  name: {{value: {'9' * 5000}}}", "2:17 /fields/name/value type"),
    ("fields:\n  name: {value: -1e999}", "2:17 /fields/name/value type"),
    ("fields:\n  !!int x: name", "2:3 /fields type"),
])
def test_a_mapping_that_cannot_be_read_is_refused_at_its_place(text: str, told: str) -> None:
    assert faults(text) == [told]


def test_what_is_not_there_on_either_side_is_told_all_at_once() -> None:
    text = """
fields:
  nickname: name
  phone: {from: "address.phone || nam"}
  tags: "tags[?lable == 'x']"
"""
    assert faults(text) == ["3:13 /fields/nickname unknown_target", "4:17 /fields/phone/from unknown_source",
                            "5:9 /fields/tags unknown_source", "3:3 /fields required"]


@pytest.mark.parametrize("expression", [
    "lines[*].skuu", "lines[?skuu == 'a'].sku", "sort_by(lines, &skuu)[0].sku", "lines[].{a: sku, b: skuu}",
    "number || skuu", "number && skuu", "lines[0].skuu", "lines[].shipments", "number.x",
    "map(&skuu, lines)", "max_by(lines, &quantity).skuu", "lines | [0].skuu", "@.skuu", "not_null(number, skuu)",
    "[number, skuu]", "!skuu", "lines[].sku[].x"])
def test_a_field_that_our_record_does_not_have_is_found_in_every_branch(expression: str) -> None:
    with pytest.raises(expressions.UnknownName):
        expressions.require_names(expressions.parse(expression), ORDER)


@pytest.mark.parametrize("expression", [
    "lines[*].sku", "lines[?tax_code == 'x'].sku | [0]", "sort_by(lines, &sku)[-1].unit_price", "ship_to.city",
    "shipments[].lines[].sku", "lines[].{a: sku, b: code('taxes', tax_code)}", "join(', ', lines[].name)",
    "values(ship_to)[0]", "map(&sku, lines)", "lines[1:].sku", "to_string(total)", "length(lines)", "`3`", "'x'"])
def test_an_expression_over_fields_that_are_there_is_taken(expression: str) -> None:
    expressions.require_names(expressions.parse(expression), ORDER)


@pytest.mark.parametrize("argument", [
    "ship_to.phone", "ship_to.phone || number", "values(ship_to)[0]", "ship_to.* | [0]", "join('', [ship_to.phone])",
    "ship_to.{a: phone}.a", "[ship_to.phone][0]", "to_string(to_number(ship_to.phone))", "to_string(ship_to)",
    "merge(ship_to, {x: number}).phone", "not_null(ship_to.phone, number)", "map(&phone, [ship_to])[0]"])
def test_what_can_be_made_of_a_sensitive_field_is_no_code(argument: str) -> None:
    with pytest.raises(expressions.SensitiveLookup):
        expressions.shape_of(expressions.parse(f"code('t', {argument})"), ORDER)


def test_a_sensitive_field_is_refused_as_a_code_at_its_place_and_beside_one_it_is_not() -> None:
    assert faults("fields:\n  name: {from: \"ship_to.phone | code('t', @)\"}", source=ORDER) == [
        "2:16 /fields/name/from sensitive"]
    taken = "ship_to.{phone: phone, city: code('cities', city), to: recipient}"
    expressions.require_names(expressions.parse(taken), ORDER)
    target = {"properties": {"lines": {"type": "array", "items": {"properties": {"tax_code": {"codeTable": "taxes"}}}}}}
    for lines, refused in (("lines", False), ("[{tax_code: number, name: ship_to.phone}]", True),
                           ("map(&{tax_code: tax_code, name: name}, lines)", False),
                           ("map(&{tax_code: phone, name: city}, [ship_to])", True)):
        read_one = mapping.read(f"fields: {{lines: \"{lines}\"}}")
        if not refused:
            mapping_checks.require_sound(read_one, ORDER, target, {})
            continue
        with pytest.raises(Faulty) as refusal:
            mapping_checks.require_sound(read_one, ORDER, target, {})
        assert [fault.code for fault in refusal.value.faults] == ["sensitive"]


def test_a_result_of_the_wrong_type_is_found_on_made_up_records_and_on_real_ones() -> None:
    assert faults("fields: {name: version}") == ["1:16 /fields/name type"]
    assert faults("fields: {name: invoice.title}") == ["1:16 /fields/name type"], "not every customer has one"
    for text in ("fields: {name: {from: invoice.title, default: x}}",
                 "fields: {name: {from: invoice.title, required: true}}"):
        mapping_checks.require_sound(mapping.read(text), CUSTOMER, TARGET, {})
    text = "fields: {name: name, term: {from: to_number(level), default: 1}}"
    assert faults(text, records=({"name": "n", "level": "1.5"},)) == ["1:28 /fields/term type"]


def test_a_field_that_the_target_always_needs_cannot_be_left_out_later() -> None:
    assert faults("fields: {name: {from: name, only_on_create: true}}") == ["1:16 /fields/name required"]


def test_what_a_look_up_yields_is_checked_as_far_as_its_table_is_filled() -> None:
    text = "fields: {name: name, term: {from: \"code('terms', level)\", default: 0}}"
    mapping_checks.require_sound(mapping.read(text), CUSTOMER, TARGET, {})
    assert faults(text, tables={"terms": {"A": "net 30"}}) == ["1:28 /fields/term type"]


def test_a_record_is_filled_by_expressions_constants_defaults_and_code_tables() -> None:
    text = """
fields:
  name: name
  phone: {from: phone, default: none}
  term: {from: "code('terms', level)", only_on_create: true}
  language: {value: zh}
  codes: "lines[].code('taxes', tax)"
"""
    record: Any = {"name": "客户", "phone": None, "level": "A", "lines": [{"tax": "V"}, {"tax": ""}],
              "consent": {"email": {}}, "note": "stays here"}
    sent = filled(text, record, terms={"A": 7}, taxes={"V": 13})
    assert sent == {"name": "客户", "phone": "none", "term": 7, "language": "zh", "codes": [13],
                    "consent": {"email": {}}}
    assert "term" not in filled(text, record, creating=False, taxes={"V": 13})


def test_a_record_that_cannot_be_filled_says_which_field_and_never_a_value() -> None:
    with pytest.raises(Unmappable) as refused:
        filled("fields: {phone: {from: phone, required: true}}", {"phone": None})
    assert refused.value.field == "phone"
    with pytest.raises(Unmappable, match=r"^the code 'B' is not in the code table 'terms'$"):
        filled("fields: {term: \"code('terms', level)\"}", {"level": "B"}, terms={"A": 1})
    with pytest.raises(Unmappable) as refused:
        filled("fields: {name: \"length(version)\"}", {"version": 4711})
    assert "4711" not in str(refused.value)


@pytest.mark.parametrize("expression", [
    "contains(name, city)", "ceil(to_number('inf'))", "floor(to_number('nan'))"])
def test_a_function_that_fails_over_a_record_says_so_and_no_more(expression: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        expressions.parse(expression).value({"name": "Jane", "city": None}, Lookup({}))
    assert "Jane" not in str(refused.value)
    with pytest.raises(UnmappedCode):
        expressions.parse("code('t', name)").value({"name": "Jane"}, Lookup({}))


@pytest.mark.parametrize(("expression", "place"), [
    ("to_number(city)", "what it yields"), ("{prices: [`1`, to_number(city)]}", "/prices/1"),
    ("sum([`1e308`, `1e308`])", "what it yields"), ("`NaN`", "what it yields")])
@pytest.mark.parametrize("city", ["inf", "-Infinity", "nan"])
def test_what_is_no_number_in_json_is_refused_with_its_place_and_not_sent(
    expression: str, place: str, city: str
) -> None:
    with pytest.raises(Unmappable, match=f"^{place} is infinite or no number, which JSON does not have$") as refused:
        filled(f"fields: {{term: '{expression}'}}", {"city": city})
    assert refused.value.field == "term"


def test_a_slice_is_taken_and_one_that_goes_nowhere_is_refused() -> None:
    assert filled("fields: {tags: \"tags[:2]\", last: \"code('t', tags[::-1] | [0])\"}", {"tags": ["a", "b", "c"]},
                  t={"c": 3}) == {"tags": ["a", "b"], "last": 3}
    assert faults("fields: {name: \"tags[::0]\"}") == ["1:16 /fields/name expression"]


@pytest.mark.parametrize("expression", [
    "|".join(["[@,@]"] * 150), "lines|" + "|".join(["[@,@][]"] * 120),
    "to_string(" + "[to_string(" * 60 + "number" + ")]" * 60 + ")",
    "join(number,lines[].sku)|" + "|".join(["join(@,split)"] * 3), "!" * 900 + "number",
    "number|" + "|".join(["join(@,[@,@,@,@])"] * 40),
    "number|join(@,[@,@,@,@])|join(@,[@,@,@,@])|join(@,[@,@,@,@])|" + "|".join(["[@,@]"] * 9)])
def test_an_expression_that_grows_without_end_is_stopped_at_once(expression: str) -> None:
    record = {"number": "x" * 50, "lines": [{"sku": "a"}, {"sku": "b"}], "split": ["a"] * 10}
    with pytest.raises(ExpressionError):
        expressions.parse(expression).value(record, Lookup({}))


@pytest.mark.parametrize("expression", [
    "|".join(["{a:@,b:@}"] * 90), "number|" + "|".join(["{a:@,b:@}"] * 90),
    "({0})||({0})".format("|".join(["{a:@,b:@}"] * 45)), "({0})||({0})".format("|".join(["[].{a:@,b:@}"] * 35))])
def test_the_shape_of_what_grows_without_end_is_told_at_once(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def one(*args: Any) -> Any:
            nonlocal steps
            steps += 1
            assert steps <= 2 * len(expression)
            return step(*args)

        return one

    for name in ("_shape", "is_sensitive"):
        monkeypatch.setattr(expressions, name, counted(getattr(expressions, name)))
    # Only this is asked of the shape: written out, it would double at each step.
    sensitive = expressions.is_sensitive(expressions.shape_of(expressions.parse(expression), ORDER))
    assert sensitive is not expression.startswith("number")


def test_an_expression_nested_too_deeply_has_no_shape() -> None:
    with pytest.raises(ExpressionError, match="nested too deeply"):
        expressions.shape_of(expressions.parse("number" + "[]" * 480), ORDER)


def test_all_fields_of_a_record_share_one_budget() -> None:
    dear = "|".join(["[@,@]"] * 12)
    fields = "\n".join(f"  f{n}: \"{dear}\"" for n in range(40))
    with pytest.raises(Unmappable):
        filled(f"fields:\n{fields}\n", {})
    assert len(filled(f"fields:\n  f: \"{dear}\"\n", {})["f"]) == 2


def test_an_order_with_as_many_lines_as_there_may_be_is_well_within_bounds() -> None:
    line = {"sku": "s" * 100, "name": "n" * 200, "quantity": "1", "unit_price": "1.00", "tax_code": "V", "line": 1}
    text = "fields: {lines: \"lines[].{sku: sku, name: name, quantity: quantity, tax: code('taxes', tax_code)}\"}"
    sent = filled(text, {"lines": [line] * 500}, taxes={"V": 1})
    assert len(sent["lines"]) == 500


def test_yaml_means_what_it_says() -> None:
    assert read("{a: NO, b: 012, c: 12:30, d: on, e: true, f: 2, g: 2026-11-22, h: ~}").value == {
        "a": "NO", "b": "012", "c": "12:30", "d": "on", "e": True, "f": 2, "g": "2026-11-22", "h": None}


def test_each_code_without_a_counterpart_is_counted_once_per_record() -> None:
    target = {"properties": {"currency": {"codeTable": "currencies"},
                             "lines": {"items": {"properties": {"tax_code": {"codeTable": "taxes"}}}}}}
    gaps = Gaps({"currencies": {"CNY": 1}, "taxes": {}})
    for currency in ("CNY", "EUR"):
        gaps.looked_up_by_target(target, {"currency": currency, "lines": [
            {"tax_code": "V13"}, {"tax_code": "V13"}, {"tax_code": ""}]})
        gaps.next_record()
    assert gaps.records == {("taxes", "V13"): 2, ("currencies", "EUR"): 1}
