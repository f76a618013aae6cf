"""Every sentence that tells why a field was refused, or what keeps a verb from its work, can be told in Chinese."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields

from contracts.errors import Conflict, CustomerNotKnown
from gateway import locale, problems, sentences
from hub import chinese as in_chinese
from hub import client
from services.integrations.operations.replays import REASONS
from tests.support.rooms import SERVICES

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("domain", "doors", "engine", "operations", "queries")
SOURCES = sorted([*ROOT.glob("contracts/*.py"),
                  *(path for floor in FLOORS for path in ROOT.glob(f"services/*/{floor}/**/*.py")),
                  ROOT / "gateway" / "exchange.py", ROOT / "gateway" / "limits.py"])
FACT = "7"


def chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)


class Said(ast.NodeVisitor):
    """Collects the messages of refused fields of one file: (code, message); a message that is not known is empty."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[str, str]] = []
        self._named = {target.id: node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)
                       for target in node.targets if isinstance(target, ast.Name)}
        self.visit(tree)

    def text(self, node: ast.expr | None) -> str:
        if isinstance(node, ast.Name):
            node = self._named.get(node.id)
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(part.value if isinstance(part, ast.Constant) else FACT for part in node.values)  # type: ignore[misc]
        return ""

    def visit_Call(self, node: ast.Call) -> None:
        """`Invalid.of`, `refusal`, `_fault`, `Fault`, `ValidationError`, and a validator's `error=`."""
        called = ast.unparse(node.func)
        if called in {"Invalid.of", "refusal", "_fault", "Fault"} and len(node.args) == 3:
            self.found.append((self.text(node.args[1]), self.text(node.args[2])))
        elif called == "ValidationError" and not isinstance(node.args[0], ast.DictComp):
            self.found.append(("", self.text(node.args[0])))
        elif called.startswith("validate."):
            self.found += [("", self.text(word.value)) for word in node.keywords if word.arg == "error"]
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        """`{"pointer": ..., "code": ..., "message": ...}`."""
        told = {self.text(key): value for key, value in zip(node.keys, node.values, strict=True)}
        if {"pointer", "code", "message"} <= set(told) and isinstance(told["code"], ast.Constant):
            self.found.append((self.text(told["code"]), self.text(told["message"])))
        self.generic_visit(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_message_in_the_code_has_its_chinese(path: Path) -> None:
    for code, message in Said(ast.parse(path.read_text(encoding="utf-8"))).found:
        assert chinese(locale.field_message(code, message, "zh-CN")), f"{code}: {message}"


@pytest.mark.parametrize("path", SOURCES,
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_why_the_present_state_does_not_allow_it_is_told_in_chinese(path: Path) -> None:
    for said in _arguments(path, "Conflict", "AlreadyExists", "InvalidTransition", "Forbidden"):
        assert sentences.in_chinese(said, sentences.OF_DETAILS), said


def test_why_a_policy_cannot_be_followed_is_told_in_chinese() -> None:
    said = [one for one in _arguments(ROOT / "services/integrations/domain/reconciliation.py", "WrongPolicy") if one]
    assert len(said) == 3
    for one in said:
        filled = one.replace(f"{FACT}: {FACT}", f"{FACT}: No order is made here of this one: delete it there")
        assert sentences.in_chinese(filled, sentences.OF_FIELDS), one


def test_why_an_expression_cannot_be_used_is_told_in_chinese() -> None:
    domain = ROOT / "services" / "integrations" / "domain"
    said = list(_arguments(domain / "expressions.py", "ExpressionError", "UnknownName", "SensitiveLookup"))
    assert len(said) > 10
    for one in said:
        assert sentences.in_chinese(one, sentences.OF_EXPRESSIONS), one
    for fate in REASONS.values():
        assert sentences.in_chinese(fate["en"], sentences.OF_DETAILS) == f"{fate['zh-CN']}。"


def _arguments(path: Path, *errors: str) -> Iterator[str]:
    """Yield the first argument of every such error that one file raises, where it is written out, facts as `FACT`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in errors
                and (said := Said(ast.Module([], [])).text(node.args[0]))):
            yield said


class Troubles(ast.NodeVisitor):
    """Collects what one file of `hub` says of trouble, facts as `FACT`: (sentences, where their Chinese is)."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[str, Mapping[str, str]]] = []
        self._returned = {one.name: [inner.value for inner in ast.walk(one) if isinstance(inner, ast.Return)]
                          for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
        self._named: dict[str, list[ast.expr | None]] = {}
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A name means what the function it stands in assigns to it."""
        self._named = {}
        for one in ast.walk(node):
            if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
                self._named.setdefault(one.targets[0].id, []).append(one.value)
        self.generic_visit(node)

    def _texts(self, node: ast.expr | None) -> Iterator[str]:
        if isinstance(node, ast.Constant):
            yield str(node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else FACT for part in node.values)
        elif isinstance(node, ast.IfExp):
            yield from (*self._texts(node.body), *self._texts(node.orelse))
        elif isinstance(node, ast.Name):
            yield from (text for value in self._named.get(node.id, ()) for text in self._texts(value))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).removeprefix("self.")
            yield from (text for value in self._returned.get(called, ()) for text in self._texts(value))

    def visit_Call(self, node: ast.Call) -> None:
        """`Trouble(problem, remedy)`, and a finding of the doctor that has a remedy."""
        called, words = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
        problem, remedy = (node.args if called == "Trouble" and len(node.args) == 2 else
                           (words.get("text"), words.get("remedy")) if called == "Finding" else (None, None))
        if remedy is not None:
            self.found += [(text, in_chinese.PROBLEMS) for text in self._texts(problem)]
            self.found += [(text, in_chinese.REMEDIES) for text in self._texts(remedy)]
        self.generic_visit(node)


@pytest.mark.parametrize("path", sorted(ROOT.glob("hub/**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_trouble_of_the_command_line_has_its_chinese(path: Path) -> None:
    for sentence, listed in Troubles(ast.parse(path.read_text(encoding="utf-8"))).found:
        if any(letter.isalpha() for letter in sentence):
            assert chinese(in_chinese.told(listed, sentence)), sentence


def test_what_others_say_of_keys_and_of_a_refusal_has_its_chinese() -> None:
    keys = ast.walk(ast.parse((ROOT / "chassis" / "master.py").read_text(encoding="utf-8")))
    said = [node.args[0] for node in keys if isinstance(node, ast.Call) and ast.unparse(node.func) == "MasterKeyError"]
    assert len(said) > 5
    for message in said:
        assert isinstance(message, ast.JoinedStr)
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else FACT for part in message.values)
        assert chinese(in_chinese.told(in_chinese.PROBLEMS, text)), text
    for remedy in client.NEXT_STEPS.values():
        assert chinese(in_chinese.told(in_chinese.REMEDIES, remedy)), remedy


def all_fields(schema: Schema) -> Iterator[fields.Field[Any]]:
    for declared in schema.fields.values():
        yield from _with_those_inside(declared)


def _with_those_inside(declared: fields.Field[Any]) -> Iterator[fields.Field[Any]]:
    yield declared
    if isinstance(declared, fields.Nested):
        yield from all_fields(declared.schema)
    inside = (getattr(declared, name, None) for name in ("inner", "key_field", "value_field"))
    for one in inside:
        if isinstance(one, fields.Field):
            yield from _with_those_inside(one)


def _messages(declared: fields.Field[Any]) -> Iterator[str]:
    for kind, message in declared.error_messages.items():
        if kind not in {"format", "invalid_awareness"}:  # of writing, and of times without an offset
            yield str(message).format_map({"places": FACT, "choices": FACT, "obj_type": "date"})
    for rule in declared.validators:
        yield from _messages_of_rule(rule)


def _messages_of_rule(rule: Any) -> Iterator[str]:
    wrong: tuple[Any, ...] = ("", "x", "x" * 30_000, -1, 10**9, [], ["x"] * 3000, {str(n): 1 for n in range(3000)})
    for value in wrong:
        try:
            rule(value)
        except ValidationError as error:
            yield from (str(message) for message in error.messages)
        except TypeError:
            continue  # a rule for values of another kind


@pytest.mark.parametrize("room", SERVICES)
def test_every_message_of_a_request_has_its_chinese(room: str) -> None:
    for operation in importlib.import_module(f"contracts.{room}").OPERATIONS:
        for declared in all_fields(operation.request()):
            for message in _messages(declared):
                assert chinese(locale.field_message("invalid", message, "zh-CN")), f"{operation.name}: {message}"


def test_the_fact_is_told_in_chinese() -> None:
    told = {
        "User name or password is wrong": "用户名或密码错误。",
        "An order that is confirmed cannot be changed": "订单已确认，不能再修改。",
        "Goods of this order have left: call the rest off in the ERP, and enter a return there for what has left":
            "该订单已有货物发出：其余部分请在 ERP 中取消，已发出的货物请在 ERP 中登记退货。",
        "A-1: 3 asked, 2 available": "A-1：订购 3，可用 2；没有预留任何库存。",
        "The body declares 2000000 bytes; the most is 1048576": "请求体为 2000000 字节，最多允许 1048576 字节。",
    }
    for english, expected in told.items():
        assert locale.detail("unauthenticated", 401, english, "zh-CN") == expected
    wrong = "'nme', character 1: there is no field 'nme' here: it has name."
    assert locale.field_message("expression", wrong, "zh-CN") == (
        "'nme' 的第 1 个字符：此处没有字段 'nme'；可用的有：name。")
    assert locale.field_message("pattern", "'ftp' does not match '^http'", "zh-CN") == (
        "格式不正确。（'ftp' does not match '^http'）")
    assert locale.field_message("not_positive", "Must be greater than zero.", "zh-CN") == "必须大于零。"
    assert chinese(locale.field_message("customer_not_known", CustomerNotKnown.SENTENCE, "zh-CN"))


def test_what_keeps_a_connection_from_being_ready_is_told_in_chinese() -> None:
    gap = {"field": "check", "message": "The connection is stopped."}
    told = problems.document(Conflict("ERP is not ready", gaps=[gap]), "r-1", "zh-CN")
    assert told["details"]["gaps"] == [{"field": "check", "message": "连接已停止。"}]
    once = "the mapping was saved when this was not refused, line 3: `term` is true or false. Save it anew without that"
    assert locale.field_message("", once, "zh-CN").startswith(
        "映射保存时尚不拒绝此项，第 3 行：`term` 只能是 true 或 false。请")
    readiness = ROOT / "services" / "integrations" / "operations" / "readiness.py"
    said = [node for node in ast.walk(ast.parse(readiness.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and str(node.value).startswith("The ")]
    assert len(said) > 2
    for one in said:
        assert chinese(locale.field_message("", str(one.value), "zh-CN")), one.value
