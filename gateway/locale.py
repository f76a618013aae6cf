"""What the gateway says to people, in English and Chinese.

A problem's `title` and `detail`, and the message of every refused field, are looked up here by code or by the English
sentence (`sentences`). A field's sentence that is not listed is never dropped: it follows the Chinese of its code.
"""

from __future__ import annotations

from typing import Literal

from werkzeug.datastructures import LanguageAccept

from gateway import sentences

Language = Literal["en", "zh-CN"]

TITLES: dict[str, tuple[str, str]] = {
    "bad_request": ("The request cannot be understood", "请求无法理解"),
    "malformed_json": ("The body is not well-formed JSON", "请求体不是格式正确的 JSON"),
    "malformed_header": ("A header cannot be read", "请求头无法识别"),
    "invalid_cursor": ("The page cursor is not valid", "分页游标无效"),
    "idempotency_key_required": ("An Idempotency-Key is required", "必须提供 Idempotency-Key"),
    "unauthenticated": ("Not signed in", "未通过身份验证"),
    "forbidden": ("Not allowed", "没有权限"),
    "password_change_required": ("Change your password first", "请先修改密码"),
    "not_found": ("Not found", "未找到"),
    "method_not_allowed": ("Method not allowed", "不支持该方法"),
    "not_acceptable": ("Not acceptable", "无法提供所要求的格式"),
    "request_timeout": ("The request came too slowly", "请求接收超时"),
    "conflict": ("In conflict with the present state", "与当前状态冲突"),
    "already_exists": ("Already exists", "已存在"),
    "invalid_transition": ("Not possible in this state", "当前状态不允许此操作"),
    "insufficient_stock": ("Not enough stock", "库存不足"),
    "customer_not_known": ("The customer is not known here yet", "此客户尚未同步"),
    "duplicate_in_flight": ("The same request is being worked on", "相同请求正在处理"),
    "stale_version": ("The record has changed", "记录已被修改"),
    "content_too_large": ("The body is too large", "请求体过大"),
    "uri_too_long": ("The address is too long", "请求地址过长"),
    "unsupported_media_type": ("Media type not supported", "不支持的媒体类型"),
    "invalid": ("Values were refused", "部分内容未通过校验"),
    "idempotency_mismatch": ("The key was used for another request", "幂等键已用于其他请求"),
    "precondition_required": ("Say which version you change", "必须说明要修改的版本"),
    "too_many_requests": ("Too many requests", "请求过于频繁"),
    "headers_too_large": ("The headers are too large", "请求头过大"),
    "internal_error": ("Something went wrong on our side", "服务内部错误"),
    "unavailable": ("A needed part is away", "服务暂不可用"),
    "deadline_exceeded": ("No answer in time", "处理超时"),
}
"""Problem code → title in English and Chinese."""

_DETAILS_ZH: dict[str, str] = {
    "bad_request": "请检查请求的写法后重试。",
    "malformed_json": "请求体必须是一个 UTF-8 编码、键不重复的 JSON 值。",
    "malformed_header": "请求头的写法有误，请对照接口文档修改。",
    "invalid_cursor": "该游标不是此列表给出的，请从第一页重新读取。",
    "idempotency_key_required": "请为每次新的请求生成一个 Idempotency-Key，重试时使用同一个值。",
    "unauthenticated": "请登录，或提供有效的令牌或 API 密钥。",
    "forbidden": "您的角色没有此项权限，请联系管理员。",
    "password_change_required": "请先修改密码：POST /api/v1/me/password。",
    "not_found": "没有这条记录，或您无权查看。",
    "method_not_allowed": "此资源支持的方法见 Allow 响应头。",
    "not_acceptable": "此资源无法以 Accept 所列的格式提供。",
    "request_timeout": "请求未能在限定时间内完整到达。",
    "conflict": "记录的当前状态不允许此操作。",
    "already_exists": "具有相同唯一值的记录已存在。",
    "invalid_transition": "记录当前的状态不允许这一步操作。",
    "insufficient_stock": "订购数量超过可用库存，没有预留任何库存。",
    "customer_not_known": "尚未收到这个客户的资料，或您无权查看该客户，请稍后重试。",
    "duplicate_in_flight": "相同的请求正在处理，请稍后用同一个键重试。",
    "stale_version": "该记录在您读取之后已被修改，请重新读取后再试。",
    "content_too_large": "请求体超过了允许的大小。",
    "uri_too_long": "请求地址超过了允许的长度。",
    "unsupported_media_type": "请以 application/json 发送请求体。",
    "invalid": "请按 errors 中列出的每一项修改后重试。",
    "idempotency_mismatch": "此前已用同一个幂等键发送过内容不同的请求，请换一个新键。",
    "precondition_required": "请在 If-Match 中提供读取时得到的 ETag。",
    "too_many_requests": "请在 Retry-After 所示的秒数之后重试。",
    "headers_too_large": "请求头超过了允许的大小。",
    "internal_error": "请凭请求编号联系管理员。",
    "unavailable": "所需的服务暂时不可用，修改多半没有生效，但无法确定；请稍后用同一个幂等键重试。",
    "deadline_exceeded": "未能及时得到结果，修改可能已经生效，请用同一个幂等键重试。",
}

MEANINGS: dict[str, str] = {
    "bad_request": "Read the detail, correct the request, send it again.",
    "malformed_json": "Send one JSON value in UTF-8: no key twice, no NaN, numbers within 64 bits, nested as allowed.",
    "malformed_header": "Correct the header that the detail names.",
    "invalid_cursor": "Start again from the first page; a cursor belongs to one list with one filter and one order.",
    "idempotency_key_required": "Make a new key per intention (a UUID); when you repeat the request, repeat its key.",
    "unauthenticated": "Sign in with POST /api/v1/sessions, or send a valid API key as a bearer token.",
    "forbidden": "Ask an administrator for the right; repeating does not help.",
    "password_change_required": "POST /api/v1/me/password, with `current_password` and `new_password`.",
    "not_found": "Check the address. A record that you may not see answers the same.",
    "method_not_allowed": "Use one of the methods in the Allow header.",
    "not_acceptable": "Accept application/json.",
    "request_timeout": "Send the request again over a better connection.",
    "conflict": "Read the record again; its state does not allow this.",
    "already_exists": "Use the record that exists, or another value.",
    "invalid_transition": "Read the record again; the step does not lead on from its present state.",
    "insufficient_stock": "Order less, or wait for stock; nothing was reserved.",
    "customer_not_known": "Repeat after Retry-After seconds if the customer is new; else check its id.",
    "duplicate_in_flight": "Repeat with the same key after Retry-After seconds.",
    "stale_version": "Read the record again, apply your change to what you find, send the new ETag in If-Match.",
    "content_too_large": "Send less at once.",
    "uri_too_long": "Shorten the address.",
    "unsupported_media_type": "Send Content-Type: application/json, in UTF-8, not compressed.",
    "invalid": "Correct every entry of `errors`: a JSON pointer into the body, or `?name` of the query.",
    "idempotency_mismatch": "Use a new key for a new request.",
    "precondition_required": "Send the record's ETag in If-Match.",
    "too_many_requests": "Wait Retry-After seconds.",
    "headers_too_large": "Send fewer or shorter headers.",
    "internal_error": "Report the request id; it finds the cause in the logs.",
    "unavailable": "Repeat after Retry-After seconds, a change with the same Idempotency-Key: most likely nothing was "
                   "changed.",
    "deadline_exceeded": "A change may have been made: repeat with the same Idempotency-Key.",
}
"""Problem code → what the client should do, for `/docs/problems`."""

_FIELD_CODES_ZH = {
    "unknown_field": "未知字段。", "required": "缺少必填字段。", "null": "不能为 null。", "unknown": "没有对应的记录。",
    "repeated": "不能重复出现。", "broken": "无法使用。", "not_allowed": "不允许这样设置。",
    "unsupported": "不支持这样设置。",
    "type": "类型不正确。", "enum": "不是允许的值。", "const": "不是允许的值。", "pattern": "格式不正确。",
    "format": "格式不正确。",
    "minLength": "内容过短。", "maxLength": "内容过长。", "minimum": "数值过小。", "maximum": "数值过大。",
    "exclusiveMinimum": "数值过小。", "exclusiveMaximum": "数值过大。", "minItems": "项数过少。",
    "maxItems": "项数过多。",
    "uniqueItems": "不能有重复项。", "additionalProperties": "未知字段。", "dependentRequired": "缺少与之配套的字段。",
    "anyOf": "不符合任何一种允许的形式。", "oneOf": "不符合任何一种允许的形式。",
}
"""Where the sentence comes from outside, such as an adapter's JSON Schema: code, or keyword, → Chinese."""


def preferred(accept: LanguageAccept) -> Language:
    """Return the language to answer in: the better of Chinese and English in `Accept-Language`, English by default."""
    for tag, quality in accept:
        if quality <= 0:
            continue
        if tag.lower().split("-")[0] == "zh":
            return "zh-CN"
        if tag == "*" or tag.lower().split("-")[0] == "en":
            return "en"
    return "en"


def title(code: str, status: int, language: Language) -> str:
    """Return the title of a problem; a code of a newer service has the title of its status."""
    names = TITLES.get(code) or TITLES.get(_BY_STATUS.get(status, ""), TITLES["bad_request"])
    return names[language == "zh-CN"]


def detail(code: str, status: int, message: str, language: Language) -> str:
    """Return what happened: the service's own sentence; in Chinese what its code means, where it is not listed."""
    if language == "en":
        return message
    said = sentences.in_chinese(message, sentences.OF_DETAILS)
    return said or _DETAILS_ZH.get(code) or _DETAILS_ZH.get(_BY_STATUS.get(status, ""), message)


def field_message(code: str, message: str, language: Language) -> str:
    """Return why one field was refused; what no sentence of ours says is told by its code and in its own words."""
    if language == "en":
        return message
    if (said := sentences.in_chinese(message, sentences.OF_FIELDS)) is not None:
        return said
    kind = _FIELD_CODES_ZH.get(code, "")
    return f"{kind}（{message}）" if kind and message else kind or message


_BY_STATUS = {
    400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 409: "conflict",
    412: "stale_version", 422: "invalid", 428: "precondition_required", 429: "too_many_requests",
    500: "internal_error", 503: "unavailable", 504: "deadline_exceeded",
}
