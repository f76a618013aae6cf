"""Why a finding is as it is, or was not carried out, in words: for what is decided by more than its kind."""

from __future__ import annotations

from services.integrations.domain.next_steps import Words

NOT_OPENED: Words = {"en": "our copy of the record does not open", "zh-CN": "本系统的记录副本无法打开"}
DELETED: Words = {"en": "our record was deleted meanwhile", "zh-CN": "我们的记录在此期间已删除"}
UNDER_WAY: Words = {"en": "our record is being made there by now", "zh-CN": "我们的记录正在对方系统中创建"}
GONE: Words = {"en": "it was not there any more when it was to be linked", "zh-CN": "绑定时对方系统中已没有这条记录"}


def ours_bound(external_id: str) -> Words:
    """Return that our record is bound to another one there."""
    return {"en": f"our record is bound to {external_id} by now", "zh-CN": f"我们的记录已绑定到对方的 {external_id}"}


def theirs_bound(entity: str, local_id: str) -> Words:
    """Return that the record there is bound to another one of ours."""
    return {"en": f"it is bound to our {entity} {local_id} by now", "zh-CN": f"它已绑定到我们的 {entity} {local_id}"}


def refused(message: str) -> Words:
    """Return that the record cannot be sent, with what the target or its adapter says of it."""
    return {"en": message, "zh-CN": f"无法发送：{message}"}
