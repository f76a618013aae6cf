"""The document says what the gateway does: valid, complete, with examples that run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from marshmallow import Schema
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.test import Client

from contracts import schema
from contracts.errors import _BY_CODE
from gateway import examples, locale, openapi
from gateway.routes import ROUTES
from tests.unit.gateway.parcels import ID

Sends = Any


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(openapi.document(ROUTES)))
    return made


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_tag(document: dict[str, Any]) -> None:
    found = [operation for _, _, operation in operations(document)]
    assert len({operation["operationId"] for operation in found}) == len(found) == len(ROUTES)
    assert all(operation["summary"] and operation["tags"] for operation in found)


def test_every_operation_tells_the_problems_that_any_request_can_meet(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        promised = set(operation["responses"])
        assert {"400", "406", "422", "500", "503", "504"} <= promised, (method, path)
        assert ("401" in promised) or operation.get("security") == [], (method, path)
        assert ("404" in promised) or "{" not in path, (method, path)
        assert ("415" in promised) == (method != "get"), (method, path)
        assert ({"412", "428"} <= promised) or method != "patch", (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert references
    for reference in references:
        at: Any = document
        for step in reference.split("/"):
            at = at[step]


def test_patterns_are_written_for_json_schema(document: dict[str, Any]) -> None:
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(document))
    assert patterns
    for pattern in patterns:
        assert r"\\Z" not in pattern
        assert "(?P<" not in pattern


def test_the_examples_pass_the_schemas_of_their_operations() -> None:
    told = {route.operation.name: route for route in ROUTES}
    assert examples._BY_OPERATION
    for name, body in examples._BY_OPERATION.items():
        operation_schema: type[Schema] = told[name].operation.request
        shaped = {"id": ID, "expected_version": 1, "changes": body} if told[name].takes_changes else body
        if "id" in told[name].fields_of_path and not told[name].takes_changes:
            shaped = {"id": ID, **body}
        schema.load(operation_schema, shaped)


def test_every_code_is_explained_in_both_languages(http: Client) -> None:
    page = http.get("/docs/problems").text
    for code in set(_BY_CODE) - {"hub_error"}:
        if not _BY_CODE[code].__module__.startswith(("contracts", "gateway")):
            continue
        assert code in locale.TITLES, f"{code} has no title"
        assert code in locale.MEANINGS, f"{code} has no meaning"
        assert f'id="{code}"' in page
        assert locale.detail(code, 0, "english", "zh-CN") != "english", f"{code} has no Chinese detail"


def test_the_documents_are_served_and_load_nothing_from_elsewhere(http: Client) -> None:
    for path, media_type in (("/openapi.json", "application/json"), ("/docs", "text/html"),
                             ("/docs/docs.css", "text/css"), ("/docs/docs.js", "text/javascript"),
                             ("/docs/problems", "text/html")):
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.mimetype == media_type
        assert not re.findall(r"https?://(?!www\.w3\.org)", answer.text) or path == "/openapi.json"
        assert http.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert "script-src 'self'" in http.get("/docs").headers["Content-Security-Policy"]


def test_a_summary_says_what_the_request_does_and_an_operation_has_a_description(document: dict[str, Any]) -> None:
    summaries = [operation["summary"] for _, _, operation in operations(document)]
    # An imperative, as one says it to a server: "Add a user", neither "Adds a user." nor "Names one record."
    assert [said for said in summaries if said.endswith(".") or said.split()[0].endswith("s")] == []
    assert "Names one record" not in json.dumps(document)


def test_objects_are_limited_by_their_properties_and_only_text_by_its_length(document: dict[str, Any]) -> None:
    def nodes(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield node
            yield from (found for below in node.values() for found in nodes(below))
        elif isinstance(node, list):
            yield from (found for below in node for found in nodes(below))

    for node in nodes(document["components"]["schemas"]):
        if "object" in str(node.get("type")):
            assert not {"minLength", "maxLength"} & set(node), node
    assert document["components"]["schemas"]["CustomerCreate"]["properties"]["preferences"]["maxProperties"] == 50


def test_a_customer_without_a_way_to_reach_them_does_not_fit_the_document(document: dict[str, Any]) -> None:
    asked = {"$ref": "#/components/schemas/CustomerCreate", "components": document["components"]}
    fits = Draft202012Validator(asked).is_valid
    assert fits({"name": "A", "phone": "+86 138 0013 8000"})
    assert fits({"name": "A", "phone": None, "wechat_id": "a1"})
    assert not fits({"name": "A"})
    assert not fits({"name": "A", "phone": None, "email": ""})


def test_every_schema_of_the_document_says_what_it_is(document: dict[str, Any]) -> None:
    bare = [name for name, schema in document["components"]["schemas"].items() if not schema.get("description")]
    assert bare == []


def test_the_reader_hides_what_is_not_searched_for_instead_of_making_forms_anew(http: Client) -> None:
    script = http.get("/docs/docs.js").text
    assert '"input", search' in script
    assert ".hidden = !element.dataset.words.includes(wanted)" in script
