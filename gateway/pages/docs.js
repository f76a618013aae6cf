"use strict";

// Reads /openapi.json and shows it: no framework, nothing from elsewhere.

const WORDS = {
  en: { language: "Language", token: "Bearer token", search: "Search operations", problems: "Problems", parameters: "Parameters",
        name: "Name", where: "In", type: "Type", meaning: "Meaning", body: "Body", answers: "Answers", required: "required",
        status: "Status", try: "Try it", send: "Send", schema: "Schema", example: "Example", open: "no sign-in needed",
        items: "items", properties: "entries", fields: "Fields of", oneOf: "at least one of" },
  zh: { language: "语言", token: "访问令牌", search: "搜索接口", problems: "错误代码", parameters: "参数",
        name: "名称", where: "位置", type: "类型", meaning: "说明", body: "请求体", answers: "应答", required: "必填",
        status: "状态码", try: "试一试", send: "发送", schema: "结构", example: "示例", open: "无需登录",
        items: "项", properties: "个键", fields: "展开", oneOf: "至少填写其一" },
};

let api;
let language = navigator.language.startsWith("zh") ? "zh" : "en";
const say = (word) => WORDS[language][word];
const byId = (id) => document.getElementById(id);

/** Make an element: make("p", {class: "x"}, "text", child, ...). Text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return text as nodes, what stands in backticks as code. */
function rich(text) {
  return (text ?? "").split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part)).filter(Boolean);
}

/** Return nodes with a dot between those of each part; empty parts are left out. */
function joined(...parts) {
  return parts.filter((part) => part.length).flatMap((part, at) => (at ? [" · ", ...part] : part));
}

function resolve(node) {
  if (!node || !node.$ref) return node;
  return node.$ref.slice(2).split("/").reduce((at, step) => at[step.replaceAll("~1", "/").replaceAll("~0", "~")], api);
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const type = [].concat(schema.type ?? "any").join(" | ");
  return schema.items ? `${typeOf(schema.items)}[]` : schema.format ? `${type} (${schema.format})` : type;
}

/** Return a value of the schema's shape, from its examples where it has any. */
function sample(schema, depth = 0) {
  schema = resolve(schema);
  if (!schema || depth > 4) return null;
  if (schema.examples) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf && !schema.properties) return sample(schema.anyOf[0], depth);
  const type = [].concat(schema.type)[0];
  if (type === "object") {
    const entries = Object.entries(schema.properties ?? {}).map(([name, value]) => [name, sample(value, depth + 1)]);
    return Object.fromEntries(entries);
  }
  if (type === "array") return [sample(schema.items, depth + 1)];
  return { integer: 1, number: 1, boolean: true, string: "text" }[type] ?? null;
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((word) => make("th", { scope: "col" }, say(word))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function row(...cells) {
  return make("tr", {}, ...cells.map((cell) => make("td", {}, ...[].concat(cell ?? ""))));
}

/** Return the object with named fields that a schema is, or is a list, map or choice of; null where there is none. */
function shapeOf(schema) {
  const node = resolve(schema);
  if (!node || node.properties) return node ?? null;
  const inside = node.items ? [node.items] : node.anyOf ?? (node.additionalProperties?.constructor === Object ? [node.additionalProperties] : []);
  return inside.map(shapeOf).find(Boolean) ?? null;
}

function schemaTable(schema) {
  const shape = shapeOf(schema);
  if (!shape) return make("pre", {}, JSON.stringify(resolve(schema) ?? {}, null, 2));
  const required = new Set(shape.required ?? []);
  const rows = Object.entries(shape.properties).map(([name, field]) => row(
    make("code", {}, name), typeOf(field),
    [...joined(required.has(name) ? [say("required")] : [], rich(field.description), limits(field)), nested(field)]));
  const oneOf = (shape.anyOf ?? []).flatMap((one) => one.required ?? []);
  return make("div", {}, table(["name", "type", "meaning"], rows),
    oneOf.length ? make("p", {}, `${say("oneOf")}: `, ...rich(oneOf.map((name) => `\`${name}\``).join(", "))) : null);
}

/** Return what opens to the fields of a nested object; they are made when it is first opened, for they may nest on. */
function nested(field) {
  const shape = shapeOf(field);
  if (!shape) return "";
  const opens = make("details", {}, make("summary", {}, `${say("fields")} ${typeOf(field)}`));
  opens.addEventListener("toggle", () => { if (opens.children.length === 1) opens.append(schemaTable(shape)); });
  return opens;
}

const LIMITS = [["minLength", "≥"], ["maxLength", "≤"], ["minimum", "≥"], ["maximum", "≤"], ["pattern", "~"],
                ["minItems", "≥", "items"], ["maxItems", "≤", "items"],
                ["minProperties", "≥", "properties"], ["maxProperties", "≤", "properties"]];

function limits(field) {
  const set = LIMITS.filter(([key]) => field[key] !== undefined);
  const said = set.map(([key, sign, unit]) => `${sign} ${field[key]}${unit ? ` ${say(unit)}` : ""}`).join(", ");
  return said ? [said] : [];
}

function tryIt(path, method, operation) {
  const inputs = (operation.parameters ?? []).map(resolve).map((parameter) => {
    const input = make("input", { name: parameter.name, "aria-label": parameter.name, placeholder: parameter.name });
    if (parameter.example) input.value = parameter.example;
    return [parameter, input];
  });
  const media = operation.requestBody?.content["application/json"];
  const body = media ? make("textarea", { name: "body", "aria-label": say("body"), spellcheck: "false" }) : null;
  if (body) body.value = JSON.stringify(media.example ?? sample(media.schema), null, 2);
  const output = make("pre", { "aria-live": "polite" });
  const button = make("button", { type: "button" }, say("send"));
  button.addEventListener("click", () => send(path, method, inputs, body, output));
  const fields = inputs.map(([parameter, input]) => make("label", { class: "row" }, parameter.name, input));
  return make("details", {}, make("summary", {}, say("try")), ...fields, body, make("p", {}, button), output);
}

async function send(path, method, inputs, body, output) {
  const query = new URLSearchParams();
  const headers = { Accept: "application/json, application/problem+json", "Accept-Language": language === "zh" ? "zh-CN" : "en" };
  for (const [parameter, input] of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (parameter.in === "query") query.set(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  if (byId("token").value) headers.Authorization = `Bearer ${byId("token").value}`;
  if (body) headers["Content-Type"] = "application/json";
  output.textContent = "…";
  try {
    const answer = await fetch(path + (query.size ? `?${query}` : ""), { method: method.toUpperCase(), headers, body: body?.value });
    const text = await answer.text();
    const said = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    output.textContent = `${answer.status}\n${said}\n\n${pretty(text)}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function answersOf(operation) {
  return Object.entries(operation.responses).map(([status, node]) => {
    const answer = resolve(node);
    const schema = Object.values(answer.content ?? {})[0]?.schema;
    const shown = schema ? make("details", {}, make("summary", {}, typeOf(schema) || say("schema")), schemaTable(schema)) : "";
    return row(status, rich(answer.description), shown);
  });
}

function card(path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolve);
  const media = operation.requestBody?.content["application/json"];
  const inside = make("div", {}, ...(operation.description ?? "").split("\n\n").map((text) => make("p", {}, ...rich(text))));
  if (parameters.length) {
    inside.append(make("h3", {}, say("parameters")), table(["name", "where", "type", "meaning"], parameters.map((p) => row(
      make("code", {}, p.name), p.in, typeOf(p.schema), joined(p.required ? [say("required")] : [], rich(p.description), limits(p.schema))))));
  }
  if (media) {
    inside.append(make("h3", {}, say("body")), schemaTable(media.schema));
    if (media.example) inside.append(make("h3", {}, say("example")), make("pre", {}, JSON.stringify(media.example, null, 2)));
  }
  inside.append(make("h3", {}, say("answers")), table(["status", "meaning", "schema"], answersOf(operation)), tryIt(path, method, operation));
  const open = operation.security?.length === 0 ? make("small", {}, say("open")) : null;
  const words = `${method} ${path} ${operation.operationId} ${operation.summary}`.toLowerCase();
  return make("details", { class: "operation", id: operation.operationId, "data-words": words }, make("summary", {},
    make("span", { class: `method ${method}` }, method.toUpperCase()), make("span", { class: "path" }, path),
    make("small", {}, operation.summary ?? ""), open), inside);
}

/** Make everything anew in the chosen language; what was typed stays. */
function show() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-hint]")) element.placeholder = say(element.dataset.hint);
  const ours = api.info.description.split("\n\n").filter((text) => /[\u4e00-\u9fff]/.test(text) === (language === "zh"));
  byId("intro").replaceChildren(...ours.map((text) => make("p", {}, ...rich(text))));
  const typed = new Map([...document.querySelectorAll(".operation [name]")].map((input) => [keyOf(input), input.value]));
  const opened = new Set([...document.querySelectorAll(".operation[open]")].map((element) => element.id));
  const index = byId("index"), operations = byId("operations"), groups = new Map();
  index.replaceChildren(); operations.replaceChildren();
  for (const [path, item] of Object.entries(api.paths)) for (const [method, operation] of Object.entries(item)) {
    const tag = operation.tags[0];
    if (!groups.has(tag)) {
      groups.set(tag, [make("section", {}, make("h3", {}, tag)), make("section", {}, make("h2", {}, tag))]);
      index.append(groups.get(tag)[0]); operations.append(groups.get(tag)[1]);
    }
    const [list, cards] = groups.get(tag), made = card(path, method, operation);
    list.append(make("a", { href: `#${made.id}`, "data-words": made.dataset.words }, `${method.toUpperCase()} ${path.replace("/api/v1", "")}`));
    cards.append(made);
    made.open = opened.has(made.id);
  }
  for (const input of document.querySelectorAll(".operation [name]")) input.value = typed.get(keyOf(input)) ?? input.value;
  search();
}

function keyOf(input) {
  return `${input.closest(".operation").id} ${input.name}`;
}

/** Show what matches the search and hide the rest, so that nothing typed into a form is lost. */
function search() {
  const wanted = byId("search").value.trim().toLowerCase();
  for (const element of document.querySelectorAll("[data-words]")) element.hidden = !element.dataset.words.includes(wanted);
  for (const group of document.querySelectorAll("#index > section, #operations > section"))
    group.hidden = !group.querySelector("[data-words]:not([hidden])");
}

function openTarget() {
  const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.open = true; target.scrollIntoView(); }
}

async function start() {
  api = await (await fetch("/openapi.json")).json();
  byId("version").textContent = api.info.version;
  byId("language").value = language;
  byId("language").addEventListener("change", (event) => { language = event.target.value; show(); });
  byId("search").addEventListener("input", search);
  window.addEventListener("hashchange", openTarget);
  show();
  openTarget();
}

start();
