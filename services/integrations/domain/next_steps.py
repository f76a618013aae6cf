"""What happens next with a delivery, or what a person has to do, in words: by its state, its error, its connection."""

from __future__ import annotations

from collections.abc import Mapping

from services.integrations.domain import failures
from services.integrations.domain.deliveries import OPEN
from services.integrations.domain.pauses import ADVICE

Words = Mapping[str, str]
"""Language (`en`, `zh-CN`) → sentences."""

BY_STATE: Mapping[str, Words] = {
    "pending": {"en": "It is sent as soon as its turn comes. Nothing to do.",
                "zh-CN": "轮到时会立即发送，无需处理。"},
    "leased": {"en": "It is being sent now. Nothing to do.", "zh-CN": "正在发送，无需处理。"},
    "retry_wait": {"en": "It is tried again by itself at due_at; retries go on for 74 hours. Nothing to do.",
                   "zh-CN": "将在 due_at 自动重试，重试持续 74 小时，无需处理。"},
    "in_doubt": {"en": "The answer was lost. The external system is asked whether the record has arrived before "
                       "anything is sent again. Nothing to do.",
                 "zh-CN": "应答丢失。重新发送之前会先向外部系统核实记录是否已到达，无需处理。"},
    "blocked": {"en": "It waits for another record that must be there first, and goes on by itself when that is. If it "
                      "stays so, look at why the other one has not arrived.",
                "zh-CN": "正在等待必须先到达的另一条记录，到达后自动继续。如果长时间不变，请查看那条记录为何未到达。"},
    "delivered": {"en": "It has arrived. Nothing to do.", "zh-CN": "已送达，无需处理。"},
    "skipped": {"en": "There was nothing to bring: the external system has it so already, or must not have it. "
                      "Nothing to do.",
                "zh-CN": "无需发送：外部系统中已是如此，或不应发送给它。无需处理。"},
    "superseded": {"en": "A newer version of the record goes in its place. Nothing to do.",
                   "zh-CN": "已由该记录的更新版本代替，无需处理。"},
    "cancelled": {"en": "It was called off before it was sent. Nothing to do.", "zh-CN": "发送前已取消，无需处理。"},
    "dead": {"en": "It is not tried any more. Correct what the reason names, then change the record: that sends it "
                   "anew.",
             "zh-CN": "不再重试。请按原因更正，然后修改该记录，即可重新发送。"},
}
"""State → what it means for whoever waits, where no more is known."""

OF_THE_DEAD: Mapping[str, Words] = {
    failures.INVALID: {
        "en": "The external system refused the content. Correct the value that the reason names, here or in the "
              "settings of the connection; the next change of the record sends it anew.",
        "zh-CN": "外部系统拒绝了内容。请更正原因中提到的值或连接设置；该记录下次修改时会重新发送。"},
    failures.TRANSIENT: {
        "en": "The external system was away for longer than 74 hours. Have it running again; the next change of the "
              "record sends it anew.",
        "zh-CN": "外部系统不可用的时间超过了 74 小时。请先恢复该系统；该记录下次修改时会重新发送。"},
    failures.NOT_FOUND: {
        "en": "The external system no longer knows the record. Find out who deleted it there, and whether it should "
              "exist; the next change of the record makes it anew.",
        "zh-CN": "外部系统中已找不到该记录。请确认是谁删除的、是否仍然需要；该记录下次修改时会重新创建。"},
    failures.VERSION_CONFLICT: {
        "en": "It was changed there at the same time, again and again. Decide in the list of conflicts which side "
              "holds.",
        "zh-CN": "该记录在对方系统中被反复同时修改。请在冲突列表中决定以哪一方为准。"},
    failures.DEPENDENCY_MISSING: {
        "en": "The record that it needs there first never arrived. Bring that one there, then change this record.",
        "zh-CN": "它所依赖的记录一直未到达。请先让那条记录送达，然后修改本记录。"},
    failures.AMBIGUOUS: {
        "en": "Whether it arrived could not be found out. Look in the external system: if it is there, nothing is to "
              "do; if not, change the record to send it anew.",
        "zh-CN": "无法确认是否已到达。请在外部系统中查看：如果已有，无需处理；如果没有，修改该记录即可重新发送。"},
    failures.UNRESOLVABLE: {
        "en": "The hub may not send it twice and cannot look whether it arrived. Look in the external system: if it is "
              "there, nothing is to do; if not, change the record to send it anew.",
        "zh-CN": "系统不能重复发送，也无法核实是否已到达。"
                 "请在外部系统中查看：如果已有，无需处理；如果没有，修改该记录即可重新发送。"},
    failures.ADAPTER_ERROR: {
        "en": "The adapter met something that it does not understand. Give the id of this delivery to whoever looks "
              "after the connection.",
        "zh-CN": "适配器遇到了无法处理的情况。请把这条投递的编号交给负责该连接的人员。"},
}
"""Error class of a delivery that is given up → what to do about it."""

PAUSED: Words = {
    "en": "The connection is paused by a person; the delivery waits, uses no attempt and goes on when it is resumed.",
    "zh-CN": "连接已由人员暂停；投递会等待，不消耗重试次数，恢复后自动继续。"}
STOPPED: Words = {
    "en": "The connection is stopped; the delivery waits until somebody starts it again.",
    "zh-CN": "连接已停止；投递会等待，直到有人重新启用。"}


def next_step(state: str, error_class: str | None, desired_state: str, pause_code: str | None) -> Words:
    """Return what comes next.

    Args:
        state: of the delivery.
        error_class: of its last failure.
        desired_state: of its connection; what stands still there comes before what the delivery itself would do.
        pause_code: why the hub paused the connection by itself.
    """
    if state == "dead":
        return OF_THE_DEAD.get(error_class or "", BY_STATE["dead"])
    if state in OPEN and state != "leased" and desired_state != "active":
        if desired_state == "stopped":
            return STOPPED
        return next((words for code, words in ADVICE.items() if code == pause_code), PAUSED)
    return BY_STATE[state]
