"""The sentences of the contracts, the services and the gateway, in Chinese.

Each is a pattern of the English sentence and its Chinese form; the pattern's groups are the facts of the case, and a
fact that is a word of the hub (a state, `zero`) is translated as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Sentences = tuple[tuple[re.Pattern[str], str], ...]

_WORDS = {
    "zero": "零", "nothing": "无", "draft": "草稿", "confirmed": "已确认", "fulfilled": "已完成", "cancelled": "已取消",
    "prospect": "潜在客户", "active": "活跃", "dormant": "休眠", "ended": "已终止", "paused": "已暂停",
    "stopped": "已停止",
}


def _compiled(pairs: Iterable[tuple[str, str]]) -> Sentences:
    return tuple((re.compile(english, re.DOTALL), chinese) for english, chinese in pairs)


def in_chinese(message: str, sentences: Sentences) -> str | None:
    """Return the Chinese form of a sentence, None where it is not listed."""
    for pattern, chinese in sentences:
        match = pattern.fullmatch(message)
        if match:
            return chinese.format(**{name: _WORDS.get(said, said) for name, said in match.groupdict().items()})
    return None


OF_FIELDS = _compiled((
    (r"Unknown field\.", "未知字段。"),
    (r"Missing data for required field\.", "缺少必填字段。"),
    (r"Field may not be null\.", "不能为 null。"),
    (r"Invalid (value|type)\.", "内容无效。"),
    (r"Must be one of: (?P<choices>.*)\.", "必须是以下之一：{choices}。"),
    (r"Must be greater than or equal to (?P<low>\S+) and less than or equal to (?P<high>\S+)\.",
     "必须在 {low} 到 {high} 之间。"),
    (r"Must be greater than or equal to (?P<low>\S+)\.", "必须大于或等于 {low}。"),
    (r"Must be greater than (?P<low>\S+)\.", "必须大于{low}。"),
    (r"Must be zero or greater\.", "不能小于零。"),
    (r"Must be less than or equal to (?P<high>\S+)\.", "必须小于或等于 {high}。"),
    (r"Length must be between (?P<low>\d+) and (?P<high>\d+)\.", "长度必须在 {low} 到 {high} 之间。"),
    (r"Longer than maximum length (?P<high>\d+)\.", "长度不能超过 {high}。"),
    (r"Shorter than minimum length (?P<low>\d+)\.", "长度不能少于 {low}。"),
    (r"Must be a decimal number written as a string.*", "必须是写成字符串的十进制数，例如 \"199.00\"。"),
    (r"Has more than (?P<places>\d+) decimals\.", "小数位不能超过 {places} 位。"),
    (r"(Is larger than can be kept|Number too large)\.", "数值超出可保存的范围。"),
    (r"Must be an RFC 3339 time with an offset.*", "必须是带时区的 RFC 3339 时间，例如 2026-11-22T08:00:00Z。"),
    (r"Is not a record id\.", "不是有效的记录编号。"),
    (r"Holds control characters\.", "含有控制字符。"),
    (r"Cannot be decrypted with this hub's keys\.", "无法用本系统的密钥解密。"),
    (r"Not a valid (utf-8 )?string\.", "必须是字符串。"),
    (r"Not a valid integer\.", "必须是整数。"),
    (r"(Not a valid number|Special numeric values \(nan or infinity\) are not permitted)\.", "必须是数字。"),
    (r"Not a valid boolean\.", "必须是 true 或 false。"),
    (r"Not a valid list\.", "必须是数组。"),
    (r"(Not a valid mapping type|Invalid input type|Must be an object)\.", "必须是对象。"),
    (r"Not a valid date\.", "必须是日期，例如 2026-11-22。"),
    (r"(Not a valid email address|Is not an email address)\.", "不是有效的邮箱地址。"),
    (r"A search by the start of the name is sorted by name\.", "按名称开头搜索时只能按名称排序。"),
    (r"Not a valid (URL|UUID)\.|String does not match expected pattern\.", "格式不正确。"),
    (r"May be given once only\.", "只能出现一次。"),
    (r"Is not a field of this record: (?P<names>.*)\.", "此记录没有这些字段：{names}。"),
    (r"Name at least one field\.", "请至少列出一个字段。"),
    (r"Is not an ISO (?P<number>\d+) code\.", "不是有效的 ISO {number} 代码。"),
    (r"Use 2 to (?P<most>\d+) of (?P<characters>.*)\.", "请使用 2 到 {most} 个字符，可用字符：{characters}。"),
    (r"Is not the name of an entity or action, nor '\*'\.", "不是实体或操作的名称，也不是 “*”。"),
    (r"Is (no|not a) phone number\.", "不是有效的电话号码。"),
    (r"Is not a possible phone number in (?P<region>\S+)\.", "不是 {region} 地区可能存在的电话号码。"),
    (r"Give at least one of phone, email and wechat_id\.", "phone、email、wechat_id 请至少填写一项。"),
    (r"Keep at least one of phone, email and wechat_id\.", "phone、email、wechat_id 请至少保留一项。"),
    (r"You may not give customers to this person\.", "您不能把客户交给此人。"),
    (r"Keep it in one of your teams\.", "请保留在您的某个团队中。"),
    (r"Is not one of your teams\.", "不是您所在的团队。"),
    (r"There is no such (record|team)\.", "没有对应的记录。"),
    (r"A team cannot be below itself\.", "团队不能位于自身之下。"),
    (r"This is not the current password\.", "当前密码不正确。"),
    (r"The new password is the current one\.", "新密码与当前密码相同。"),
    (r"The password needs at least (?P<least>\d+) characters\.", "密码至少需要 {least} 个字符。"),
    (r"The password may have at most (?P<most>\d+) characters\.", "密码最多 {most} 个字符。"),
    (r"The password holds the user name\.", "密码中不能包含用户名。"),
    (r"The password is common or repeats a pattern: it would be guessed early\.", "密码过于常见，容易被猜中。"),
    (r"The owner may not do: (?P<rights>.*)\.", "所有者没有这些权限：{rights}。"),
    (r"Must lie within the next (?P<days>\d+) days\.", "必须在今后 {days} 天之内。"),
    (r"An order has at least one line\.", "订单至少要有一行。"),
    (r"An order has at most (?P<most>\d+) lines\.", "订单最多 {most} 行。"),
    (r"The line's amount is too large\.", "该行金额过大。"),
    (r"The order's total is too large\.", "订单总额过大。"),
    (r"There is no product with the SKU (?P<sku>.*)\.", "没有 SKU 为 {sku} 的产品。"),
    (r"(?P<sku>.*) is not sold any more\.", "{sku} 已停售。"),
    (r"(?P<sku>.*) is sold in (?P<currency>\S+), not (?P<asked>\S+)\.", "{sku} 以 {currency} 销售，而不是 {asked}。"),
    (r"(?P<sku>.*) has no price of its own; give one\.", "{sku} 没有定价，请提供价格。"),
    (r"Sales knows no such customer yet; .*", "销售服务尚未收到这个客户的资料；如果客户刚刚创建，请稍后重试。"),
    (r"The adapter (?P<name>\S+) carries: (?P<entities>.*)\.", "适配器 {name} 支持的实体：{entities}。"),
    (r"The adapter (?P<name>\S+) reports changes of: (?P<entities>.*)\.",
     "适配器 {name} 能读取变更的实体：{entities}。"),
    (r"The hub pushes: (?P<entities>.*)\.", "可以推送的实体：{entities}。"),
    (r"The adapter knows no such secret\.", "适配器没有这一项密钥。"),
    (r"The adapter needs this secret\.", "适配器需要这一项密钥。"),
    (r"no adapter named (?P<name>\S+) is installed; there are: (?P<names>.*)",
     "没有安装名为 {name} 的适配器；已安装：{names}。"),
    (r"adapter (?P<name>\S+) .*", "适配器 {name} 无法使用，请联系管理员。"),
    (r"'(?P<name>[^']+)' is a required property", "缺少必填项 {name}。"),
    (r"Additional properties are not allowed \((?P<names>.*) (was|were) unexpected\)", "不允许的项：{names}。"),
))
"""Why a field was refused."""

OF_DETAILS = _compiled((
    (r"User name or password is wrong", "用户名或密码错误。"),
    (r"The session or API key is not valid, or no longer", "会话或 API 密钥无效，或已失效。"),
    (r"The bearer token is not well formed", "令牌的格式不正确。"),
    (r"The account is not active any more", "该账号已停用。"),
    (r".* may not (?P<action>\S+) records of the kind (?P<entity>\S+)", "您没有这项权限：{entity}:{action}。"),
    (r"A new user must be in one of your teams", "新用户必须属于您的某个团队。"),
    (r"Nobody can disable themselves", "不能停用自己的账号。"),
    (r"Another user has this (?P<field>\S+)", "{field} 已被其他用户使用。"),
    (r"A team is out of your reach", "有团队超出了您的管理范围。"),
    (r"Only the person can change the password", "只有本人才能修改密码。"),
    (r"The password was changed meanwhile", "密码在此期间已被修改。"),
    (r"Change your own password by giving the current one", "修改自己的密码时必须提供当前密码。"),
    (r"The team has members; move them first", "团队中还有成员，请先移出。"),
    (r"The team has teams below it; move them first", "团队之下还有团队，请先移走。"),
    (r"That place in the tree is out of your reach", "组织结构中的该位置超出了您的管理范围。"),
    (r"The parent has a team of this name", "上级团队之下已有同名团队。"),
    (r"(The role|What) (?P<what>\S+)( may do)? exceeds what .* may do", "{what} 的权限超出了您自己的权限。"),
    (r"One active user must keep the role admin", "至少要有一位在用用户保留 admin 角色。"),
    (r"Too many people are signing in at once", "同时登录的人过多，请稍后重试。"),
    (r"Too many failed attempts to sign in", "登录失败次数过多，请在 Retry-After 所示的秒数之后重试。"),
    (r"Only a person can make an API key", "只有用户本人才能创建 API 密钥。"),
    (r"Another role has this name", "已有同名角色。"),
    (r"The role admin is fixed.*", "admin 角色不能修改，否则无人能管理系统。"),
    (r"A built-in role stays; .*", "内置角色不能删除；请改为收回持有者的该角色。"),
    (r"Somebody holds the role; take it from them first", "仍有用户持有该角色，请先收回。"),
    (r"An order that is (?P<before>\S+) cannot become (?P<after>\S+)", "订单{before}，不能变为{after}。"),
    (r"An order that is (?P<before>\S+) cannot be changed", "订单{before}，不能再修改。"),
    (r"(?P<sku>.*): (?P<asked>\S+) asked, (?P<left>\S+) available",
     "{sku}：订购 {asked}，可用 {left}；没有预留任何库存。"),
    (r"The order holds products that are not sold any more", "订单中有已停售的产品。"),
    (r"The order cannot be drawn up as asked", "无法按所填内容生成订单，请修改 errors 中列出的每一项。"),
    (r"Sales knows no such customer yet; .*", "销售服务尚未收到这个客户的资料；如果客户刚刚创建，请稍后重试。"),
    (r"A customer that is (?P<before>\S+) cannot become (?P<after>\S+)", "客户当前为{before}，不能变为{after}。"),
    (r"Going back to prospect needs lifecycle_reason", "退回潜在客户时必须填写 lifecycle_reason。"),
    (r"(?P<name>.*) is (?P<state>\S+): resume it first", "{name} {state}，请先恢复。"),
    (r"No active route pulls anything over (?P<name>.*)", "{name} 没有启用中的拉取路由。"),
    (r"(?P<name>.*) has a route for (?P<entity>\S+)", "{name} 已有 {entity} 的路由。"),
    (r"(?P<name>.*) is not ready", "{name} 尚未就绪，缺少的内容见 details.gaps。"),
    (r"The credential does not fit the adapter", "凭据与适配器的要求不符。"),
    (r"The config is not what the adapter (?P<name>\S+) asks for", "配置不符合适配器 {name} 的要求。"),
    (r"There is a connection named (?P<name>.*)", "已有名为 {name} 的连接。"),
    (r"This was done before, and its answer held a secret.*", "此请求此前已执行，其应答中的秘密只显示一次。"),
    (r"The body declares (?P<size>\d+) bytes; the most is (?P<most>\d+)",
     "请求体为 {size} 字节，最多允许 {most} 字节。"),
    (r"The body is larger than (?P<most>\d+) bytes", "请求体超过了 {most} 字节。"),
    (r"A JSON body is needed, with (?P<names>.*)", "需要 JSON 请求体，其中必须有：{names}。"),
    (r"A JSON body is needed", "需要 JSON 请求体。"),
    (r"The body is not UTF-8", "请求体不是 UTF-8 编码。"),
    (r"The body is not JSON: line (?P<line>\d+), column (?P<column>\d+)",
     "请求体不是 JSON：第 {line} 行，第 {column} 列。"),
    (r"The body is nested deeper than (?P<most>\d+)", "请求体的嵌套超过 {most} 层。"),
    (r"The body holds an object with a duplicate key", "请求体中有对象含重复的键。"),
    (r"The body holds (?P<name>\S+), which is not JSON", "请求体中的 {name} 不是 JSON。"),
    (r"The body holds a whole number beyond 64 bits", "请求体中的整数超出 64 位。"),
    (r"The body holds a number beyond what 64-bit.*", "请求体中的数超出 64 位浮点数的范围。"),
    (r"The body holds half of a surrogate pair", "请求体中有不完整的 Unicode 代理对。"),
    (r"The body ended (early|before).*", "请求体不完整。"),
    (r"The query cannot be read: .* more than (?P<most>\d+) parameters",
     "查询串无法识别：不是 UTF-8，或参数超过 {most} 个。"),
    (r"If-Match must name one version.*", "If-Match 必须是一个版本，例如 \"3\"。"),
    (r"No version of this record has that ETag", "此记录没有哪个版本的 ETag 是这个值。"),
    (r"Idempotency-Key must be 1 to 255 printable ASCII characters",
     "Idempotency-Key 必须是 1 到 255 个可见 ASCII 字符。"),
    (r"(?P<method>\S+) is not known here", "此处不支持 {method} 方法，支持的方法见 Allow 响应头。"),
    (r"There is no such resource", "没有这个地址。"),
    (r"A compressed body is not read here", "不接受压缩的请求体。"),
    (r"This resource is (?P<kind>\S+)", "此资源只能以 {kind} 提供。"),
))
"""What happened, where the sentence says more than its code does."""
