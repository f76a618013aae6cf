"""Previews are kept for weeks and read by many: what must not be in them is not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_adapter.redaction import PREVIEW_BYTES, Redactor


@given(
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60), st.text(max_size=50)
)
def test_a_secret_never_shows_wherever_it_stands(secret: str, around: str) -> None:
    shown = Redactor([secret]).text(f"{around}{secret}{around} {base64.b64encode(secret.encode()).decode()}")
    assert shown.count(secret) <= around.count(secret) * 2


@pytest.mark.parametrize(
    "text",
    [
        '{"password": "hunter2-x"}',
        '{"access_token":"hunter2-x"}',
        "client_secret=hunter2-x&a=1",
        "api-key: hunter2-x",
        "{'refresh_token': 'hunter2-x'}",
        "2fa_token=hunter2-x",
        "密码password: hunter2-x",
        'the last Api-Key": "hunter2-x"',
    ],
)
def test_what_is_named_like_a_credential_is_not_shown(text: str) -> None:
    assert "hunter2" not in Redactor([]).text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call 13800138000 now", "call 138****8000 now"),
        ('"+8613800138000"', '"+86138****8000"'),
        ("+86 138 0013 8000", "+86 138****8000"),
        ("8613800138000, 008613800138000", "86138****8000, 0086138****8000"),
        ("138-0013-8000 or 138.0013.8000", "138****8000 or 138****8000"),
        ("手机号13800138000已被占用", "手机号138****8000已被占用"),
        ("/parties?phone=%2B8613800138000&x=1", "/parties?phone=%2B86138****8000&x=1"),
        ("+442071838750", "+442****750"),
        ("tel=%2B442071838750", "tel=%2B442****750"),
        ("邮箱wang.wei@example.com已被占用", "邮箱w***@example.com已被占用"),
        ("?email=wang.wei%40example.com", "?email=w***@example.com"),
        ("wang.wei@example.com", "w***@example.com"),
        ("?to=a.b%40example.com%2Cc.d%40example.com", "?to=a***@example.com%***@example.com"),
        ("a.b@example.com+c.d@example.com", "a***@example.com+***@example.com"),
        (f"{'wang' * 20}@example.com", "w***@example.com"),
        ("Tel.13800138000, v.+442071838750", "Tel.13800138000, v.+442****750"),
        ('{"street": "世纪大道 \\"88\\" 号", "city": "上海"}', '{"street": "***", "city": "上海"}'),
        ('"{\\"street2\\": \\"3 楼\\", \\"zip\\": 1}"', '"{\\"street2\\": \\"***\\", \\"zip\\": 1}"'),
        ("{'address_line1': '世纪大道 88 号'}", "{'address_line1': '***'}"),
        ("street=Nanjing%20Road&city=Shanghai", "street=***&city=Shanghai"),
        ('["addresses.street"], {"street": null}', '["addresses.street"], {"street": null}'),
        ("order 2026112200017 of 199.00", "order 2026112200017 of 199.00"),
        ("SKU13800138000", "SKU13800138000"),
    ],
)
def test_people_are_not_shown_in_full(text: str, shown: str) -> None:
    assert Redactor([]).text(text) == shown


def test_a_secret_on_the_border_of_the_cut_does_not_show_by_half() -> None:
    secret = "S3CRET" * 10
    body = "x" * (PREVIEW_BYTES - 40) + secret + "y" * 1000
    preview = Redactor([secret]).preview("POST /", {}, body)
    assert "S3CRET" not in preview
    assert len(preview.encode()) <= PREVIEW_BYTES


def test_chinese_in_json_can_be_read_by_a_person() -> None:
    assert "精密螺丝" in Redactor([]).preview("HTTP 200", {}, b'{"name": "\\u7cbe\\u5bc6\\u87ba\\u4e1d"}')
