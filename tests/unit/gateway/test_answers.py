"""What a client is answered: errors, methods, validation, pages, versions, keys."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from werkzeug.test import Client

from contracts import errors
from tests.unit.gateway.parcels import CREATE, ID, SIGNED_IN, Answered, FakeServices, parcel, problem_of

Sends = Any


def test_a_record_is_answered_in_clear_json_with_its_version_as_etag(send: Sends) -> None:
    answer = send("GET", f"/parcels/{ID}")

    assert answer.status_code == 200
    assert answer.json == {
        "id": ID, "version": 3, "label": "books", "worth": None, "sent_at": "2026-11-22T08:00:00.000000Z"}
    assert answer.headers["ETag"] == '"3"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_unknown_path_is_a_problem_document(send: Sends) -> None:
    problem_of(send("GET", "/unicorns"), 404, "not_found")


def test_a_path_argument_that_is_no_id_answers_as_a_missing_record_does(send: Sends, services: FakeServices) -> None:
    problem_of(send("GET", "/parcels/seven"), 404, "not_found")
    assert not services.asked


def test_a_method_that_is_not_known_names_those_that_are(send: Sends) -> None:
    answer = send("PUT", f"/parcels/{ID}")

    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


def test_options_answers_the_methods_of_the_path(send: Sends) -> None:
    answer = send("OPTIONS", "/parcels", signed_in=False)

    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")


def test_head_answers_as_get_without_the_body(send: Sends) -> None:
    whole, head = send("GET", f"/parcels/{ID}"), send("HEAD", f"/parcels/{ID}")

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.data))
    assert head.headers["ETag"] == whole.headers["ETag"]


def test_a_body_of_another_media_type_is_refused(send: Sends) -> None:
    problem_of(send("POST", "/parcels", b"label=books", Content_Type="application/x-www-form-urlencoded"),
               415, "unsupported_media_type")
    problem_of(send("POST", "/parcels", b"{}", Content_Type="application/json; charset=gbk"),
               415, "unsupported_media_type")
    problem_of(send("POST", "/parcels", b"{}", Content_Encoding="gzip"), 415, "unsupported_media_type")


def test_a_client_that_accepts_no_json_is_told_so(send: Sends) -> None:
    problem_of(send("GET", f"/parcels/{ID}", Accept="text/csv"), 406, "not_acceptable")
    assert send("GET", f"/parcels/{ID}", Accept="text/html, */*;q=0.1").status_code == 200


@pytest.mark.parametrize("body", [
    b"{", b"{'label': 1}", b'{"label": NaN}', b'{"label": Infinity}', b'{"label": "a", "label": "b"}', b'\xff\xfe{}',
    b'{"weight_g": 1e999}', b'{"weight_g": 99999999999999999999}', b'{"label": "\\ud800"}', b"[" * 9 + b"]" * 9,
    b"[" * 2000 + b"]" * 2000, b'{"label": "a"} {}', b"\xef\xbb\xbf{}",
])
def test_malformed_json_is_400(send: Sends, services: FakeServices, body: bytes) -> None:
    problem_of(send("POST", "/parcels", body), 400, "malformed_json")
    assert not services.asked


def test_every_refused_field_is_named_at_once(send: Sends, services: FakeServices) -> None:
    body = {"colour": "red", "weight_g": 0, "worth": "1.23456", "fragile": "yes",
            "lines": [{"sku": "A", "quantity": "2"}, {"quantity": 1, "x/y": 1}]}

    problem = problem_of(send("POST", "/parcels", body), 422, "invalid")

    assert {(e["pointer"], e["code"]) for e in problem["errors"]} == {
        ("/colour", "unknown_field"), ("/label", "required"), ("/weight_g", "invalid"), ("/worth", "invalid"),
        ("/fragile", "invalid"), ("/lines/0/quantity", "invalid"), ("/lines/1/sku", "required"),
        ("/lines/1/x~1y", "unknown_field"),
    }
    assert not services.asked


def test_numbers_written_as_text_are_not_guessed(send: Sends) -> None:
    for field, value in (("weight_g", "5"), ("weight_g", 5.0), ("weight_g", True), ("fragile", 1)):
        pointer = f"/{field}"
        problem = problem_of(send("POST", "/parcels", {"label": "a", field: value}), 422, "invalid")
        assert [e["pointer"] for e in problem["errors"]] == [pointer]


def test_nul_in_text_is_refused_before_a_database_meets_it(send: Sends) -> None:
    problem = problem_of(send("POST", "/parcels", {"label": "a", "phone": "1\0"}), 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/phone"
    problem_of(send("GET", "/parcels?label=%00"), 422, "invalid")


def test_a_body_that_is_not_an_object_is_refused(send: Sends) -> None:
    bodies: list[Any] = [[], "text", 7, None]
    for body in bodies:
        said = problem_of(send("POST", "/parcels", json.dumps(body).encode()), 422, "invalid")
        assert said["errors"] == [{"pointer": "", "code": "invalid", "message": "Must be an object."}]
    changed = problem_of(send("PATCH", f"/parcels/{ID}", b"[]", If_Match='"3"'), 422, "invalid")
    assert changed["errors"] == [{"pointer": "", "code": "invalid", "message": "Must be an object."}]


def test_a_missing_body_is_said_to_be_missing(http: Client) -> None:
    answer = http.post("/api/v1/parcels", headers={**SIGNED_IN, "Content-Type": "application/json"},
                       environ_overrides={"CONTENT_LENGTH": "0"})
    problem_of(answer, 400, "bad_request")


def test_a_request_without_a_body_where_one_is_needed_is_told_what_to_send(http: Client) -> None:
    answer = http.post("/api/v1/parcels", headers=SIGNED_IN, environ_overrides={"CONTENT_LENGTH": ""})
    assert problem_of(answer, 400, "bad_request")["detail"] == "A JSON body is needed, with `label`"


def test_the_root_leads_to_the_documentation(http: Client) -> None:
    for accepted in ("*/*", "application/json", "text/html"):
        answer = http.get("/", headers={"Accept": accepted})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/docs")


def test_a_selection_of_no_field_is_refused_in_words(send: Sends) -> None:
    said = problem_of(send("GET", f"/parcels/{ID}?fields="), 422, "invalid")
    assert said["errors"] == [{"pointer": "?fields", "code": "invalid", "message": "Name at least one field."}]


def test_a_body_beyond_the_cap_is_413_by_its_declared_length(http: Client) -> None:
    def never_read(*_: Any) -> bytes:
        raise AssertionError("the body was read")

    class Unread:
        read = readline = never_read

    answer = http.post("/api/v1/parcels", headers={**SIGNED_IN, "Content-Type": "application/json"},
                       environ_overrides={"CONTENT_LENGTH": "4097", "wsgi.input": Unread()})

    problem = problem_of(answer, 413, "content_too_large")
    assert problem["details"] == {"most": 4096}


def test_unknown_and_repeated_query_parameters_are_named(send: Sends) -> None:
    problem = problem_of(send("GET", "/parcels?limit=0&colour=red&sort=a&sort=b&label=x"), 422, "invalid")

    assert {e["pointer"] for e in problem["errors"]} == {"?limit", "?colour", "?sort"}
    problem_of(send("POST", "/parcels?dry=1", {"label": "a"}), 422, "invalid")


def test_a_query_that_is_not_utf8_is_400(send: Sends) -> None:
    problem_of(send("GET", "/parcels?label=%ff"), 400, "bad_request")


def test_filters_sort_and_page_reach_the_operation(send: Sends, services: FakeServices) -> None:
    services.answers["list_parcels"] = {"items": [], "next": None}

    assert send("GET", "/parcels?limit=7&label=a%20b&tags=x,y&tags=z&sort=-label").status_code == 200

    assert services.request == {"limit": 7, "cursor": None, "label": "a b", "tags": ["x", "y", "z"], "sort": "-label"}


def test_a_page_links_to_the_next_and_the_last_to_none(send: Sends, services: FakeServices) -> None:
    services.answers["list_parcels"] = {"items": [parcel()], "next": "c+/2"}
    answer = send("GET", "/parcels?limit=1&label=a&cursor=c1")
    assert answer.headers["Link"] == '</api/v1/parcels?limit=1&label=a&cursor=c%2B%2F2>; rel="next"'
    assert answer.json["next"] == "c+/2"

    services.answers["list_parcels"] = {"items": [], "next": None}
    last = send("GET", "/parcels")
    assert "Link" not in last.headers
    assert last.json == {"items": [], "next": None}


def test_fields_selects_and_refuses_what_a_record_does_not_have(send: Sends, services: FakeServices) -> None:
    services.answers["list_parcels"] = {"items": [parcel()], "next": None}

    assert send("GET", f"/parcels/{ID}?fields=id,label").json == {"id": ID, "label": "books"}
    assert send("GET", "/parcels?fields=label").json == {"items": [{"label": "books"}], "next": None}
    problem = problem_of(send("GET", f"/parcels/{ID}?fields=id,secret"), 422, "invalid")
    assert problem["errors"][0]["pointer"] == "?fields"


def test_created_records_are_found_where_location_says(send: Sends, services: FakeServices) -> None:
    answer = send("POST", "/parcels", {"label": " books ", "worth": "12.50"})

    assert (answer.status_code, answer.headers["Location"]) == (201, f"/api/v1/parcels/{ID}")
    assert str(services.request["worth"]) == "12.50"
    assert services.request["label"] == "books"


def test_a_change_without_if_match_is_428(send: Sends, services: FakeServices) -> None:
    for method, path, body in (("PATCH", f"/parcels/{ID}", {}), ("DELETE", f"/parcels/{ID}", None),
                               ("POST", f"/parcels/{ID}/send", {})):
        problem_of(send(method, path, body), 428, "precondition_required")
    assert not services.asked


@pytest.mark.parametrize(("etag", "status", "code"), [
    ("", 400, "malformed_header"), ("3", 400, "malformed_header"),
    ("*", 400, "malformed_header"), ('"3", "4"', 400, "malformed_header"),
    ('W/"3"', 412, "stale_version"), ('"abc"', 412, "stale_version"), ('"0"', 412, "stale_version"),
])
def test_an_if_match_that_names_no_version_changes_nothing(
    send: Sends, services: FakeServices, etag: str, status: int, code: str
) -> None:
    problem_of(send("PATCH", f"/parcels/{ID}", {}, If_Match=etag), status, code)
    assert not services.asked


def test_a_change_carries_id_version_and_changes(send: Sends, services: FakeServices) -> None:
    merge = {"Content_Type": "application/merge-patch+json"}
    answer = send("PATCH", f"/parcels/{ID}", {"label": "pens"}, If_Match='"3"', **merge)

    assert answer.status_code == 200
    assert services.request == {"id": ID, "expected_version": 3, "changes": {"label": "pens"}}


def test_refused_changes_point_into_the_body_that_was_sent(send: Sends) -> None:
    problem = problem_of(send("PATCH", f"/parcels/{ID}", {"label": "", "id": ID}, If_Match='"3"'), 422, "invalid")
    assert {e["pointer"] for e in problem["errors"]} == {"/label", "/id"}


def test_what_a_service_refuses_points_into_what_was_sent_too(send: Sends, services: FakeServices) -> None:
    services.answers["change_parcel"] = errors.Invalid.of("/changes/label", "unknown", "There is no such record.")
    problem = problem_of(send("PATCH", f"/parcels/{ID}", {"label": "a"}, If_Match='"3"'), 422, "invalid")
    assert [e["pointer"] for e in problem["errors"]] == ["/label"]
    services.answers["list_parcels"] = errors.Invalid.of("/sort", "invalid", "Is not sorted so.")
    problem = problem_of(send("GET", "/parcels"), 422, "invalid")
    assert [e["pointer"] for e in problem["errors"]] == ["?sort"]


def test_a_body_cannot_say_another_id_or_version_than_path_and_header(send: Sends, services: FakeServices) -> None:
    problem = problem_of(send("POST", f"/parcels/{ID}/send", {"id": ID, "expected_version": 9}, If_Match='"3"'),
                         422, "invalid")
    assert {e["pointer"] for e in problem["errors"]} == {"/id", "/expected_version"}
    assert not services.asked


def test_a_stale_version_is_412_as_the_service_says(send: Sends, services: FakeServices) -> None:
    services.answers["change_parcel"] = errors.StaleVersion("Parcel books is at version 4", version=4)

    problem = problem_of(send("PATCH", f"/parcels/{ID}", {}, If_Match='"3"'), 412, "stale_version")
    assert problem["details"] == {"version": 4}


def test_if_none_match_answers_304_without_a_body(send: Sends) -> None:
    for etag in ('"3"', 'W/"3"', '"1", "3"', "*"):
        answer = send("GET", f"/parcels/{ID}", If_None_Match=etag)
        assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", '"3"')
        assert "Content-Type" not in answer.headers
    assert send("GET", f"/parcels/{ID}", If_None_Match='"2"').status_code == 200


def test_an_action_needs_no_body_and_no_content_type(send: Sends, services: FakeServices) -> None:
    assert send("POST", f"/parcels/{ID}/hold").status_code == 200
    assert send("POST", f"/parcels/{ID}/send", If_Match='"3"').status_code == 200
    assert services.request == {"id": ID, "expected_version": 3, "note": ""}
    problem_of(send("POST", f"/parcels/{ID}/hold", {"why": "?"}), 422, "invalid")


def test_a_removed_record_answers_204_without_a_body(send: Sends, services: FakeServices) -> None:
    services.answers["drop_parcel"] = {}
    answer = send("DELETE", f"/parcels/{ID}", If_Match='"3"')
    assert (answer.status_code, answer.data) == (204, b"")


def test_the_key_reaches_the_service_and_a_replay_says_so(send: Sends, services: FakeServices) -> None:
    services.answers["create_parcel"] = Answered(parcel(), replayed=True)

    answer = send("POST", "/parcels", {"label": "a"}, Idempotency_Key="key-1 of mine")

    assert services.options["key"] == "key-1 of mine"
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (201, "true")


def test_without_a_key_two_requests_with_one_request_id_stay_two(send: Sends, services: FakeServices) -> None:
    for _ in range(2):
        assert send("POST", "/parcels", {"label": "a"}, X_Request_Id="batch-2026").status_code == 201
    keys = [options["key"] for _, _, options in services.asked]
    assert len(set(keys)) == 2


def test_a_key_is_required_where_a_repeat_would_hurt(send: Sends) -> None:
    problem_of(send("POST", "/parcel-orders", {"label": "a"}), 400, "idempotency_key_required")
    assert send("POST", "/parcel-orders", {"label": "a"}, Idempotency_Key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "订单", "a\tb"])
def test_a_key_that_is_no_key_is_400(send: Sends, key: str) -> None:
    answer = send("POST", "/parcels", {"label": "a"}, Idempotency_Key=key.encode().decode("latin-1"))
    problem_of(answer, 400, "malformed_header")


def test_an_error_of_a_service_keeps_class_facts_and_retry_after(send: Sends, services: FakeServices) -> None:
    services.answers["create_parcel"] = errors.InsufficientStock("Only 3 of A-1 are left", sku="A-1", available="3")
    problem = problem_of(send("POST", "/parcels", {"label": "a"}), 409, "insufficient_stock")
    assert problem["details"] == {"sku": "A-1", "available": "3"}
    assert problem["detail"] == "Only 3 of A-1 are left"

    services.answers["create_parcel"] = errors.DuplicateInFlight(retry_after_s=0.3)
    answer = send("POST", "/parcels", {"label": "a"})
    problem_of(answer, 409, "duplicate_in_flight")
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize(("error", "status", "code"), [
    (errors.Unavailable("The depot service is not there"), 503, "unavailable"),
    (errors.DeadlineExceeded("The depot service did not answer within 5 s", retry_after_s=1), 504, "deadline_exceeded"),
])
def test_a_service_that_is_away_or_late_says_when_to_come_back(
    send: Sends, services: FakeServices, error: errors.HubError, status: int, code: str
) -> None:
    services.answers["get_parcel"] = error
    answer = send("GET", f"/parcels/{ID}")
    problem_of(answer, status, code)
    assert answer.headers["Retry-After"] == "1"


def test_what_goes_wrong_inside_stays_inside(send: Sends, services: FakeServices) -> None:
    text = "SELECT secret FROM vault"
    for error in (KeyError(text), errors.InternalError(text, table="vault")):
        services.answers["get_parcel"] = error
        answer = send("GET", f"/parcels/{ID}")
        problem_of(answer, 500, "internal_error")
        assert "secret" not in answer.text
        assert "vault" not in answer.text


def test_problems_speak_the_clients_language(send: Sends) -> None:
    answer = send("POST", "/parcels", {"weight_g": 0}, Accept_Language="zh-Hans-CN, en;q=0.5")
    problem = problem_of(answer, 422, "invalid")
    assert problem["title"] == "部分内容未通过校验"
    assert {e["message"] for e in problem["errors"]} == {"缺少必填字段。", "必须大于或等于 1。"}
    assert answer.headers["Content-Language"] == "zh-CN"
    for accept in ("en-GB", "fr", "*", "", "en, zh;q=0.1", "zh;q=0"):
        assert problem_of(send("GET", "/nowhere", Accept_Language=accept), 404, "not_found")["title"] == "Not found"


def test_a_request_id_is_echoed_when_sane_and_made_otherwise(send: Sends) -> None:
    assert send("GET", f"/parcels/{ID}", X_Request_Id="web-7.42:a_b").headers["X-Request-Id"] == "web-7.42:a_b"
    for odd in ("short", "x" * 200, "has blank inside", "<script>alert"):
        made = send("GET", f"/parcels/{ID}", X_Request_Id=odd).headers["X-Request-Id"]
        assert re.fullmatch(r"[0-9a-f-]{36}", made)


def test_a_trace_goes_on_with_a_span_of_our_own(send: Sends, services: FakeServices) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    send("GET", f"/parcels/{ID}", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert re.fullmatch(rf"00-{trace}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", services.options["traceparent"])

    send("GET", f"/parcels/{ID}", traceparent="00-" + "0" * 32 + "-00f067aa0ba902b7-01")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", services.options["traceparent"])
    assert "0" * 32 not in services.options["traceparent"]


def test_answers_that_hold_secrets_are_never_stored(send: Sends) -> None:
    answer = send("POST", "/doors", {"label": "a"}, signed_in=False)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")


def test_whom_a_public_route_asks_for_is_the_gateway_itself(send: Sends, services: FakeServices) -> None:
    send("POST", "/doors", {"label": "a"}, signed_in=False)
    assert (services.options["subject"].kind, services.options["subject"].id) == ("service", "gateway")
    assert CREATE not in [operation for operation, _, _ in services.asked]


def test_a_token_that_the_service_refuses_is_our_fault_not_the_clients(send: Sends, services: FakeServices) -> None:
    services.answers["get_parcel"] = errors.Unauthenticated("The context token is not valid")
    problem_of(send("GET", f"/parcels/{ID}"), 500, "internal_error")


def test_whoever_was_shut_out_since_the_gateway_asked_is_401(send: Sends, services: FakeServices) -> None:
    services.answers["get_parcel"] = errors.Unauthenticated("The account is not active any more", presented=True)
    answer = send("GET", f"/parcels/{ID}")
    problem_of(answer, 401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
