"""What the verbs say of trouble, in Chinese: each English sentence as the code writes it, with `{name}` for its facts.

A sentence that is not listed is told in English alone; `tests/house/test_messages.py` finds it first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from hub.trouble import Trouble

PROBLEMS: Mapping[str, str] = {
    # of a hub on this machine
    "there is no room {room} here": "这里没有服务 {room}",
    "there is no sandbox {name}": "没有沙箱 {name}",
    "{variable} is not a port: {value}": "{variable} 不是端口号：{value}",
    "{address} is not an address": "{address} 不是有效地址",
    "{file} cannot be read as YAML ({why})": "{file} 无法按 YAML 读取（{why}）",
    "{file} cannot be read ({why})": "无法读取 {file}（{why}）",
    "{place} cannot be written ({why})": "无法写入 {place}（{why}）",
    "{place} cannot be written": "无法写入 {place}",
    "{place} has {free} MB free, the hub needs {needed} MB to start": "{place} 剩余 {free} MB，启动需要 {needed} MB",
    "{free} MB free at {place}, {needed} MB are needed": "{place} 剩余 {free} MB，需要 {needed} MB",
    "{place} is too long a path for a unix socket": "{place} 作为 unix 套接字的路径过长",
    "{place} is open to others": "其他用户可以访问 {place}",
    "{place} does not exist yet": "{place} 尚不存在",
    "{version} is too old": "{version} 版本过低",
    "nameko {version} is installed, {needed} is needed": "已安装 nameko {version}，需要 {needed}",
    "RabbitMQ is not installed on this machine": "本机没有安装 RabbitMQ",
    "RabbitMQ is not installed": "没有安装 RabbitMQ",
    "epmd of Erlang is not on the PATH": "PATH 中找不到 Erlang 的 epmd",
    "the code of {room} is not in {place}": "{place} 中没有 {room} 的代码",
    "the code of {room} does not load ({why})": "{room} 的代码无法加载（{why}）",
    "the code of the rooms does not load ({why})": "各服务的代码无法加载（{why}）",
    "port {port} of {program} is taken by {holder}": "{program} 的端口 {port} 已被 {holder} 占用",
    "{program} is not ready after {waited} s ({lacks})": "{program} 在 {waited} 秒后仍未就绪（{lacks}）",
    "{program} does not start ({why})": "{program} 无法启动（{why}）",
    "supervisord (pid {pid}) does not end": "supervisord（pid {pid}）没有结束",
    "supervisord refused {method}: {why}": "supervisord 拒绝了 {method}：{why}",
    "the hub runs with other settings than this shell has": "运行中的系统与当前终端的设置不同",
    "the hub is down": "系统没有运行",
    "{file} does not exist": "{file} 不存在",
    "{program} is {state} ({lacks})": "{program} 的状态为 {state}（{lacks}）",
    "{program} is {state}": "{program} 的状态为 {state}",
    "{count} processes run without their keeper (pids {pids})": "有 {count} 个进程失去了管理进程（pid {pids}）",
    "the clock went backwards: logs were written in the future": "时钟被调慢：日志的时间在未来",
    "the clock is not synchronised": "时钟没有同步",
    "the first administrator could not be made ({why})": "无法创建首个管理员（{why}）",
    "a file of checkpoints belongs to one room": "一份检查点文件只属于一个服务",
    # keys
    "keys cannot be made ({why})": "无法生成密钥（{why}）",
    "no keys yet": "还没有密钥",
    "the master key {file} is missing, and the data of {rooms} is sealed under it":
        "缺少主密钥 {file}，而 {rooms} 的数据由它加密",
    "{file} may be read by others": "其他用户可以读取 {file}",
    "{file} is damaged ({why})": "{file} 已损坏（{why}）",
    "{place} lacks the public half of the signing key": "{place} 中缺少签名密钥的公钥",
    "{file} has mode {mode}; others may read it: chmod 600 it":
        "{file} 的权限为 {mode}，其他用户可以读取：请 chmod 600",
    "{file} does not exist: restore the master key, without it no data opens":
        "{file} 不存在：请恢复主密钥，没有它任何数据都无法打开",
    "{file} is not a master key file: its first line is not {format}": "{file} 不是主密钥文件：首行不是 {format}",
    "{file} exists: a master key is never overwritten": "{file} 已存在：主密钥不会被覆盖",
    "{file} holds no key": "{file} 中没有密钥",
    "{file} cannot be read: {why}": "无法读取 {file}：{why}",
    "{file} cannot be written: {why}": "无法写入 {file}：{why}",
    "{file}: key {id} is not base64url": "{file}：密钥 {id} 不是 base64url",
    "{file}: key {id} is {length} bytes long, not {needed}": "{file}：密钥 {id} 长 {length} 字节，应为 {needed}",
    "{file}: key {id} does not match its id: the file is damaged": "{file}：密钥 {id} 与其编号不符：文件已损坏",
    # databases, broker, audit trail
    "the database of {room} could not be migrated ({why})": "{room} 的数据库无法升级（{why}）",
    "the database of {room} does not answer ({why})": "{room} 的数据库没有应答（{why}）",
    "{room}: the database is at version {at}, not {newest}": "{room}：数据库版本为 {at}，应为 {newest}",
    "{room}: the database is away": "{room}：数据库不可用",
    "{room} has none yet": "{room} 还没有数据库",
    "the broker refuses or does not answer ({why})": "消息服务器拒绝连接或没有应答（{why}）",
    "the private broker is down": "自带的消息服务器没有运行",
    "epmd is not on the PATH": "PATH 中找不到 epmd",
    "requests do not go back": "请求消息不能放回",
    "there is no queue {queue}": "没有队列 {queue}",
    "{count} in {queue}.dead": "{queue}.dead 中有 {count} 条",
    "{room}: an event has waited to be sent for {waited} s": "{room}：有事件已等待发送 {waited} 秒",
    "{room}: no queue takes {event}, {count} kept since {since} UTC ({why})":
        "{room}：没有队列接收 {event}，自 {since} UTC 起保留了 {count} 条（{why}）",
    "the audit trail of {room} cannot be read ({why})": "无法读取 {room} 的审计日志（{why}）",
    # what asks the gateway
    "this verb asks the gateway, and there is no key to ask with": "此命令要询问网关，但没有可用的密钥",
    "the API key holds characters that no key has": "API 密钥含有密钥中不会有的字符",
    "the gateway does not answer": "网关没有应答",
    "{url} does not answer as a gateway does ({why})": "{url} 的应答不像网关（{why}）",
    "the hub refused a step of the demo ({why})": "系统拒绝了演示的一步（{why}）",
    "the hub refused ({why})": "系统拒绝了请求（{why}）",
    "there is no order {order}, or it is out of your reach": "没有订单 {order}，或您无权查看",
    "there is no connection {connection}": "没有连接 {connection}",
    "there is no adapter {name}": "没有适配器 {name}",
    "{given} is no NAME=VALUE": "{given} 不是 NAME=VALUE 的形式",
    "{given} is no method": "{given} 不是 HTTP 方法",
    "{given} is no JSON ({why})": "{given} 不是 JSON（{why}）",
    "{given} is no version of a mapping": "{given} 不是映射的版本",
    "the route has no mapping": "该路由没有映射",
    "there is no user {user}": "没有用户 {user}",
    "there is nothing to change": "没有要更改的内容",
    "the connection has no route for {entity}": "该连接没有 {entity} 的路由",
    # a new adapter
    "{name} is no name for an adapter": "{name} 不能用作适配器的名称",
    "the hub has an adapter {name} of its own": "系统自带名为 {name} 的适配器",
    "the hub has a module {file}": "系统已有模块 {file}",
    "{place} exists": "{place} 已存在",
    # the demo
    "an administrator exists already, and the demo has no key of theirs": "已有管理员，但演示没有其密钥",
    "the hub cannot work with {connection} ({why})": "系统无法使用连接 {connection}（{why}）",
    "the sandbox {name} could not be prepared": "无法准备沙箱 {name}",
    "the sandbox {name} has no readable {file}": "沙箱 {name} 没有可读取的 {file}",
    "the ERP does not answer ({why})": "ERP 没有应答（{why}）",
    "the ERP refuses {method} ({why})": "ERP 拒绝了 {method}（{why}）",
    "the ERP does not ship sale {sale}": "ERP 没有为销售单 {sale} 发货",
    "the ERP keeps {email} on its list": "ERP 的邮件列表仍保留 {email}",
    "the ERP holds no sale": "ERP 中没有销售单",
    "there is no sale to ship": "没有可发货的销售单",
    "the calendar has no task {task}": "日历中没有任务 {task}",
    "the calendar server answers {status}": "日历服务器应答 {status}",
    "the calendar server does not answer ({why})": "日历服务器没有应答（{why}）",
    "{what} did not happen within {waited} s": "{waited} 秒内没有发生：{what}",
}
"""What happened."""

REMEDIES: Mapping[str, str] = {
    "choose of: {names}": "请从中选择：{names}",
    "choose one that hub parked list shows": "请选择 hub parked list 列出的队列",
    "name the room too": "请同时指明服务",
    "set it to a number": "请设为数字",
    "set HUB_HOME to a folder of yours": "请把 HUB_HOME 设为您自己的目录",
    "set HUB_HOME to a shorter one": "请把 HUB_HOME 设为较短的路径",
    "set GATEWAY_LISTEN, or HUB_PORT, to where the gateway listens":
        "请把 GATEWAY_LISTEN 或 HUB_PORT 设为网关监听的地址",
    "set HUB_API_KEY to a key that is good": "请把 HUB_API_KEY 设为有效的密钥",
    "set the clock right (timedatectl set-ntp true), then restart the hub":
        "请校准时钟（timedatectl set-ntp true），然后重启系统",
    "timedatectl set-ntp true: tokens allow for 60 s at most": "timedatectl set-ntp true：令牌最多容许 60 秒的偏差",
    "write host:port": "请写成 主机:端口",
    "write it as without_matching=true": "请写成 without_matching=true 这样的形式",
    "correct it, or unset {variable}": "请改正，或取消 {variable}",
    "correct what it names": "请改正其中指出的内容",
    "correct that and run hub up again; its log is {file}": "请改正后再运行 hub up；日志在 {file}",
    "correct AMQP_URI, or start that broker": "请改正 AMQP_URI，或启动该消息服务器",
    "restore it, or unset HUB_PROCESS_FILE": "请恢复该文件，或取消 HUB_PROCESS_FILE",
    "restore it, or name a process file without it": "请恢复，或指定一个不含它的进程文件",
    "restore the key from where you keep it apart from the backups; a new one would open nothing":
        "请从备份之外的存放处恢复密钥；新的密钥打不开任何数据",
    "free some space, or set HUB_HOME to a folder on another disk": "请腾出空间，或把 HUB_HOME 设到另一块磁盘",
    "free some before it is full": "请在写满之前腾出空间",
    "chmod {rights} {place}": "请执行 chmod {rights} {place}",
    "make {place} writable for this user": "请让当前用户可以写入 {place}",
    "move {file} away and run hub up: it makes a new pair": "请移走 {file} 再运行 hub up：会生成新的密钥对",
    "move it away and run hub up": "请移走该文件，再运行 hub up",
    "follow the word above; hub up makes keys for an empty hub": "请按上面的提示处理；对于空的系统，hub up 会生成密钥",
    "verify where the master key is: it tells whose checkpoints these are":
        "请在有主密钥的机器上验证：由它判断检查点属于谁",
    "install Python 3.11 or newer": "请安装 Python 3.11 或更新版本",
    "install Erlang, apt-get install erlang-base": "请安装 Erlang：apt-get install erlang-base",
    "apt-get install erlang-base": "请执行 apt-get install erlang-base",
    "run deploy/local/bootstrap.sh, or set AMQP_URI to a broker you have":
        "请运行 deploy/local/bootstrap.sh，或把 AMQP_URI 指向已有的消息服务器",
    "run deploy/local/bootstrap.sh, or apt-get install rabbitmq-server":
        "请运行 deploy/local/bootstrap.sh，或执行 apt-get install rabbitmq-server",
    "run deploy/local/bootstrap.sh": "请运行 deploy/local/bootstrap.sh",
    "run hub config check": "请运行 hub config check",
    "run hub demo again: it prepares it": "请再运行 hub demo：会重新准备",
    "run hub demo again": "请再运行 hub demo",
    "run hub doctor, then hub up": "请运行 hub doctor，再运行 hub up",
    "run hub doctor, then hub migrate {room}": "请运行 hub doctor，再运行 hub migrate {room}",
    "run hub doctor": "请运行 hub doctor",
    "run hub down, then hub up": "请先运行 hub down，再运行 hub up",
    "run hub migrate {room}": "请运行 hub migrate {room}",
    "run hub up, which makes them": "请运行 hub up，会自动生成",
    "run hub up, which makes it": "请运行 hub up，会自动生成",
    "run hub up": "请运行 hub up",
    "stop that, or set {variable} to a free {what}": "请停止占用者，或把 {variable} 设为空闲的 {what}",
    "stop that, or set {variable}": "请停止占用者，或修改 {variable}",
    "stop the hub and restore the last backup": "请停止系统，恢复最近的备份",
    "start its room once, which makes it": "请启动一次它的服务，队列会自动建立",
    "start the room that listens to it, once": "请启动一次监听它的服务",
    "start the database server, or correct {variable}": "请启动数据库服务器，或改正 {variable}",
    "look at room and rights of {place}": "请检查 {place} 的空间和权限",
    "look into {file}.log, then hub up": "请查看 {file}.log，再运行 hub up",
    "look into {place}": "请查看 {place}",
    "see {place}, then kill {pid}": "请查看 {place}，然后 kill {pid}",
    "see whether broker and room run (hub status); nothing is lost":
        "请查看消息服务器和服务是否在运行（hub status）；没有丢失",
    "see {place}": "请查看 {place}",
    "nothing: whoever sent them has had an error, and they go after a day":
        "无需处理：发送者已收到错误，一天后自动清除",
    "find out who sends to the broker past the gateway; they are gone after a day":
        "请查明谁绕过网关直接发送；一天后自动清除",
    "hub parked list says why; mend that, then hub parked return {queue}":
        "hub parked list 说明原因；处理后执行 hub parked return {queue}",
    "hub status shows what is missing": "用 hub status 查看缺少什么",
    "hub status shows whether it runs": "用 hub status 查看它是否在运行",
    "hub doctor looks for the reason": "用 hub doctor 查找原因",
    "hub connections list shows them": "hub connections list 列出所有连接",
    "hub adapter list shows them": "hub adapter list 列出所有适配器",
    "hub routes list shows them": "hub routes list 列出所有路由",
    "write it as state=dead": "请写成 state=dead 这样的形式",
    "write it as {example}": "请写成 {example} 这样的形式",
    "name a file that exists": "请指定一个存在的文件",
    "hub mappings list shows them": "hub mappings list 列出所有版本",
    "save one with hub mappings save": "请用 hub mappings save 保存一个",
    "look the user name up in GET /api/v1/users": "请在 GET /api/v1/users 中查找用户名",
    "save it as UTF-8": "请保存为 UTF-8 编码",
    "name an option, --help shows them": "请至少给出一个选项，--help 列出所有选项",
    "GET /api/v1/deliveries says what became of it": "GET /api/v1/deliveries 说明它的结果",
    "look for it in GET /api/v1/orders": "请在 GET /api/v1/orders 中查找",
    "look its id up again; what the key may not see is not found either": "请重新查找编号；密钥无权查看的也算找不到",
    "look at the mailing list in the ERP": "请查看 ERP 的邮件列表",
    "look at its shipments in the ERP": "请查看它在 ERP 中的发货单",
    "look at the record in the ERP": "请查看 ERP 中的该记录",
    "mend that connection": "请修复该连接",
    "make one with POST /api/v1/api-keys and set HUB_API_KEY":
        "请用 POST /api/v1/api-keys 生成密钥，并设置 HUB_API_KEY",
    "make one with POST /api/v1/api-keys and run: HUB_API_KEY=... make demo":
        "请用 POST /api/v1/api-keys 生成密钥，再执行：HUB_API_KEY=... make demo",
    "copy it again, into HUB_API_KEY: printable ASCII, without spaces and line ends":
        "请重新复制到 HUB_API_KEY：可打印的 ASCII 字符，不含空格和换行",
    "ask with the key of somebody who may": "请使用有权限者的密钥",
    "do first what it names, then ask again": "请先完成其中指出的事项，然后重试",
    "it has changed meanwhile: look at it again, then decide anew": "内容已有变化：请重新查看后再决定",
    "wait a little, then ask again": "请稍候重试",
    "take 2 to 40 small letters and digits, a letter first, words parted by one _":
        "请用 2 到 40 个小写字母和数字，以字母开头，单词之间用一个 _ 分隔",
    "take another name: it would never be loaded": "请换一个名称：否则永远不会被加载",
    "take another name: the folder would hide the module": "请换一个名称：否则目录会遮住该模块",
    "take another name, or remove it": "请换一个名称，或删除它",
    "the line above says why; then run hub demo again": "原因见上一行；处理后再运行 hub demo",
}
"""What to do about it."""


def of(trouble: Trouble) -> dict[str, str]:
    """Return `problem` and `remedy` in Chinese, each in English where it is not listed."""
    return {"problem": told(PROBLEMS, trouble.problem), "remedy": told(REMEDIES, trouble.remedy)}


def told(sentences: Mapping[str, str], english: str) -> str:
    """Return a sentence in Chinese, by whichever listed one says most of it; the English one where none fits."""
    fits = {sentence: match for sentence in sentences if (match := _pattern(sentence).fullmatch(english))}
    if not fits:
        return english
    nearest = min(fits, key=lambda sentence: sum(map(len, fits[sentence].groups())))
    return sentences[nearest].format_map(fits[nearest].groupdict())


@cache
def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(sentence)), re.DOTALL)
