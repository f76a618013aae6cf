"""What happens next with a delivery, or what a person has to do, in words: by its state, its error, its connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

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
    "dead": {"en": "It is not tried any more. Correct what the reason names, then send it again.",
             "zh-CN": "不再重试。请按原因更正，然后重新发送。"},
}
"""State → what it means for whoever waits, where no more is known."""

OF_THE_DEAD: Mapping[str, Words] = {
    failures.INVALID: {
        "en": "The external system refused the content. Correct the value that the reason names, here, there or in the "
              "settings of the connection, then send it again; a change of the record here sends it by itself.",
        "zh-CN": "外部系统拒绝了内容。请在本系统、对方系统或连接设置中更正原因提到的值，然后重新发送；"
                 "在本系统修改该记录会自动发送。"},
    failures.TRANSIENT: {
        "en": "The external system was away for longer than 74 hours. Have it running again, then send it again.",
        "zh-CN": "外部系统不可用的时间超过了 74 小时。请先恢复该系统，然后重新发送。"},
    failures.NOT_FOUND: {
        "en": "The external system no longer knows the record. Find out who deleted it there, and whether it should "
              "exist; if so, send it again, which makes it anew.",
        "zh-CN": "外部系统中已找不到该记录。请确认是谁删除的、是否仍然需要；如果需要，重新发送即可重新创建。"},
    failures.ALREADY_EXISTS: {
        "en": "The external system has another record with something that only one may have, such as a code or an "
              "email; the reason says what it said. Find that record there. If it is the same one, merge the two "
              "there; if not, correct the value, here or there. Then send this one again.",
        "zh-CN": "外部系统中已有另一条记录占用了必须唯一的值（如编码或邮箱），原因中是对方的说明。"
                 "请在对方找到那条记录：若是同一条，请在对方合并；若不是，请在任一方更正该值。然后重新发送。"},
    failures.VERSION_CONFLICT: {
        "en": "It was changed there at the same time, again and again. Decide in the list of conflicts which side "
              "holds.",
        "zh-CN": "该记录在对方系统中被反复同时修改。请在冲突列表中决定以哪一方为准。"},
    failures.DEPENDENCY_MISSING: {
        "en": "The record that it needs there first never arrived. Bring that one there, then send this one again.",
        "zh-CN": "它所依赖的记录一直未到达。请先让那条记录送达，然后重新发送本记录。"},
    failures.AMBIGUOUS: {
        "en": "Whether it arrived could not be found out. Look in the external system: if it is there, nothing is to "
              "do; if not, send it again.",
        "zh-CN": "无法确认是否已到达。请在外部系统中查看：如果已有，无需处理；如果没有，请重新发送。"},
    failures.UNRESOLVABLE: {
        "en": "It may have arrived, and the hub could not find out. Until a person has looked there, later changes of "
              "the record may be held back in the same way, for they could make it twice. Look in the external system: "
              "if it is there, say which one it is (hub deliveries bind). Then, and also if it is not there, send the "
              "newest of them again.",
        "zh-CN": "它可能已到达，但系统无法核实。在有人到对方系统查看之前，该记录之后的更改也可能同样被搁置，"
                 "以免重复创建。请在外部系统中查看：如果已有，请先指明是哪一条（hub deliveries bind）；"
                 "然后重新发送其中最新的一条，如果没有，也同样重新发送。"},
    failures.PACED: {
        "en": "It takes more requests than the pace of the connection lets through within the time of a call. Raise "
              "its rate_per_s, then send it again.",
        "zh-CN": "所需请求数超过了连接的速率在一次调用时限内允许的数量。请提高该连接的 rate_per_s，然后重新发送。"},
    failures.ADAPTER_ERROR: {
        "en": "The adapter met something that it does not understand. Give the id of this delivery to whoever looks "
              "after the connection.",
        "zh-CN": "适配器遇到了无法处理的情况。请把这条投递的编号交给负责该连接的人员。"},
}
"""Error class of a delivery that is given up → what to do about it."""

REFUSED_ORDER: Words = {
    "en": "The external system refused the content. A confirmed order stays as it is: correct the cause there, or in "
          "the mapping, the codes or the settings of the connection, then send it again (hub retry). Only if the order "
          "itself is wrong, cancel it and make a new one.",
    "zh-CN": "外部系统拒绝了内容。已确认的订单不能修改：请在对方系统，或在连接的映射、代码表或设置中更正原因，"
             "然后重新发送（hub retry）。只有订单本身有误时，才取消它并新建订单。"}
"""What to do about an order that was refused: no change of it sends it again."""

OF_THE_UNMATCHED: Mapping[str, Words] = {
    failures.AWAITING_MATCH: {
        "en": "It is being found out which records the external system has already, so that none is made twice. "
              "Confirm the open match run, or cancel it; start another if one that was confirmed broke off. Then it "
              "goes on by itself.",
        "zh-CN": "正在查明外部系统已有哪些记录，以免重复创建。请确认或取消未结束的匹配运行；"
                 "若已确认的匹配中断，请重新开始一次。之后自动继续。"},
    failures.LEFT_OUT: {
        "en": "Go-live matching left the record out: it may be there already, so nothing is made. Start another match "
              "run, link the record or say that it is to be created, then run a backfill.",
        "zh-CN": "上线匹配时搁置了该记录：对方可能已有，因此不会创建。请再做一次匹配，绑定它或决定创建，然后回填。"},
    failures.FILTERED: {
        "en": "The filter of the route leaves the record out, so it is not made there. It is once a change lets it "
              "through, or another record that goes there needs it. If it should be there now, change the filter and "
              "run a backfill.",
        "zh-CN": "路由的过滤条件排除了该记录，因此不会在对方创建。"
                 "记录变更后符合条件，或有要发送的记录依赖它时，会自动发送。"
                 "如果现在就应发送，请修改过滤条件后回填。"},
}
"""Error class of a delivery that is held back although nothing failed → what to do about it."""

PAUSED: Words = {
    "en": "The connection is paused by a person; the delivery waits, uses no attempt and goes on when it is resumed.",
    "zh-CN": "连接已由人员暂停；投递会等待，不消耗重试次数，恢复后自动继续。"}
STOPPED: Words = {
    "en": "The connection is stopped; the delivery waits until somebody resumes it (hub connections resume).",
    "zh-CN": "连接已停止；投递会等待，直到有人恢复连接（hub connections resume）。"}
AWAY: Words = {
    "en": "The external system does not answer. The hub looks for it again and again, and what waits goes on by itself "
          "when it is back; waiting uses no further attempt. Have it running again; nothing to do here.",
    "zh-CN": "外部系统没有应答。系统会不断检查，对方恢复后等待中的投递自动继续，等待期间不再消耗重试次数。"
             "请恢复对方系统；这里无需处理。"}
THROTTLED: Words = {
    "en": "The external system asked for a pause. It is sent by itself when that is over. Nothing to do.",
    "zh-CN": "外部系统要求暂缓。暂缓结束后会自动发送，无需处理。"}


PACED: Words = {
    "en": "It waits for its turn by the pace that is set for the connection (rate_per_s). Nothing to do; if much waits "
          "so, raise the pace as far as the external system bears.",
    "zh-CN": "按照连接设定的速率（rate_per_s）排队等待，无需处理；"
             "如果大量投递因此等待，请在对方系统可承受的范围内提高速率。"}


class Standing(Protocol):
    """How a connection stands, as its row has it."""

    @property
    def desired_state(self) -> str: ...
    @property
    def pause_code(self) -> str | None: ...
    @property
    def health(self) -> str: ...


def next_step(state: str, error_class: str | None, connection: Standing, entity: str) -> Words:
    """Return what comes next.

    Args:
        state: of the delivery.
        error_class: of its last failure.
        connection: its own; what stands still there comes before what the delivery itself would do.
        entity: of its record.
    """
    if (state, error_class, entity) == ("dead", failures.INVALID, "order"):
        return REFUSED_ORDER
    if state == "dead":
        return OF_THE_DEAD.get(error_class or "", BY_STATE["dead"])
    unmatched = OF_THE_UNMATCHED.get(error_class or "")
    if state == "skipped" and unmatched is not None:
        return unmatched
    if state not in OPEN or state == "leased":
        return BY_STATE[state]
    if connection.desired_state == "stopped":
        return STOPPED
    if connection.desired_state != "active":
        return next((words for code, words in ADVICE.items() if code == connection.pause_code), PAUSED)
    if state == "retry_wait" and unmatched is not None:
        return unmatched
    if state == "retry_wait" and error_class == failures.PACED:
        return PACED
    return {"open": AWAY, "half_open": AWAY, "throttled": THROTTLED}.get(connection.health, BY_STATE[state])
