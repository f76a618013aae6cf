"""Why the hub itself pauses a connection: only where a person must act. What happened, and what to do, in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal

Code = Literal["auth", "gone", "mapping_fault", "in_doubt", "address"]

REFUSED_RECORDS, REFUSED_WITHIN_S = 20, 600.0
"""So many different records refused within so long, and none taken between: the mapping is wrong, not the records."""
DOUBTS = 50
"""So many deliveries in doubt that a look at the target has not cleared up."""

ADVICE: Mapping[Code, Mapping[str, str]] = {
    "auth": {
        "en": "The external system refuses the credential. Put a new one, check the connection, then resume it. "
              "Nothing was lost and no attempt was used.",
        "zh-CN": "外部系统拒绝了凭据。请重新填写凭据，检查连接，然后恢复。没有丢失任何数据，也没有消耗重试次数。",
    },
    "gone": {
        "en": "The external system says that the account, tenant or address is gone for good. Find out whether it was "
              "moved or closed; correct the address, check the connection, then resume it.",
        "zh-CN": "外部系统表示该账户、租户或地址已永久失效。请确认是迁移还是关闭；更正地址，检查连接，然后恢复。",
    },
    "mapping_fault": {
        "en": "Many different records in a row were refused as invalid, so the fault is in the mapping or the "
              "settings, not in the records. Read the refused field in the dead deliveries, correct it, then resume.",
        "zh-CN": "连续多条不同的记录被判为无效，问题在映射或设置，而不在记录本身。"
                 "请查看失败投递中被拒绝的字段，更正后恢复。",
    },
    "in_doubt": {
        "en": "Of many calls nobody knows whether they arrived, and looking at the external system did not tell. Find "
              "out whether it can be asked, then resume: each of them is looked for again before anything is sent.",
        "zh-CN": "许多调用的结果不明，查询外部系统也未能确认。"
                 "请确认外部系统可以查询，然后恢复：发送之前会逐一重新核实。",
    },
    "address": {
        "en": "The address of the connection was changed, so its credential was taken away. Put the credential again, "
              "check the connection, then resume it.",
        "zh-CN": "连接地址已更改，原凭据已被移除。请重新填写凭据，检查连接，然后恢复。",
    },
}


def with_refused(known: Sequence[tuple[str, float]], record: str, now: dt.datetime) -> list[tuple[str, float]]:
    """Return the records refused within the last minutes, each once with its latest time, `record` among them."""
    at = now.timestamp()
    kept = [(name, when) for name, when in known if name != record and at - when < REFUSED_WITHIN_S]
    return [*kept, (record, at)][-REFUSED_RECORDS:]


def is_mapping_fault(refused: Sequence[tuple[str, float]]) -> bool:
    """Tell whether so many were refused that no further record should be tried."""
    return len(refused) >= REFUSED_RECORDS
