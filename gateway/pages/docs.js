"use strict";

// Reads /openapi.json and shows it: no framework, nothing from elsewhere.

const WORDS = {
  en: { language: "Language", token: "Bearer token", search: "Search operations", problems: "Problems", parameters: "Parameters",
        name: "Name", where: "In", type: "Type", meaning: "Meaning", body: "Body", answers: "Answers", required: "required",
        status: "Status", try: "Try it", send: "Send", schema: "Schema", example: "Example", open: "no sign-in needed" },
  zh: { language: "语言", token: "访问令牌", search: "搜索接口", problems: "错误代码", parameters: "参数",
        name: "名称", where: "位置", type: "类型", meaning: "说明", body: "请求体", answers: "应答", required: "必填",
        status: "状态码", try: "试一试", send: "发送", schema: "结构", example: "示例", open: "无需登录" },
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
  if (schema.anyOf) return sample(schema.anyOf[0], depth);
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
  return make("tr", {}, ...cells.map((cell) => make("td", {}, cell ?? "")));
}

function schemaTable(schema) {
  const shape = resolve(schema);
  if (!shape || !shape.properties) return make("pre", {}, JSON.stringify(shape ?? {}, null, 2));
  const required = new Set(shape.required ?? []);
  return table(["name", "type", "meaning"], Object.entries(shape.properties).map(([name, field]) => row(
    make("code", {}, name), typeOf(field),
    [required.has(name) ? say("required") : "", field.description ?? "", limits(field)].filter(Boolean).join(" · "))));
}

function limits(field) {
  const said = [["minLength", "≥"], ["maxLength", "≤"], ["minimum", "≥"], ["maximum", "≤"], ["pattern", "~"]];
  return said.filter(([key]) => field[key] !== undefined).map(([key, sign]) => `${sign} ${field[key]}`).join(", ");
}

function tryIt(path, method, operation) {
  const inputs = (operation.parameters ?? []).map(resolve).map((parameter) => {
    const input = make("input", { "aria-label": parameter.name, placeholder: parameter.name });
    if (parameter.example) input.value = parameter.example;
    return [parameter, input];
  });
  const media = operation.requestBody?.content["application/json"];
  const body = media ? make("textarea", { "aria-label": say("body"), spellcheck: "false" }) : null;
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
    return row(status, answer.description, shown);
  });
}

function card(path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolve);
  const media = operation.requestBody?.content["application/json"];
  const inside = make("div", {}, make("p", {}, operation.description ?? ""));
  if (parameters.length) {
    inside.append(make("h3", {}, say("parameters")), table(["name", "where", "type", "meaning"], parameters.map((p) => row(
      make("code", {}, p.name), p.in, typeOf(p.schema), [p.required ? say("required") : "", p.description ?? ""].filter(Boolean).join(" · ")))));
  }
  if (media) {
    inside.append(make("h3", {}, say("body")), schemaTable(media.schema));
    if (media.example) inside.append(make("h3", {}, say("example")), make("pre", {}, JSON.stringify(media.example, null, 2)));
  }
  inside.append(make("h3", {}, say("answers")), table(["status", "meaning", "schema"], answersOf(operation)), tryIt(path, method, operation));
  const open = operation.security?.length === 0 ? make("small", {}, say("open")) : null;
  return make("details", { class: "operation", id: operation.operationId }, make("summary", {},
    make("span", { class: `method ${method}` }, method.toUpperCase()), make("span", { class: "path" }, path),
    make("small", {}, operation.summary ?? ""), open), inside);
}

function show() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-hint]")) element.placeholder = say(element.dataset.hint);
  const wanted = byId("search").value.trim().toLowerCase();
  const index = byId("index"), operations = byId("operations"), groups = new Map();
  index.replaceChildren(); operations.replaceChildren();
  for (const [path, item] of Object.entries(api.paths)) for (const [method, operation] of Object.entries(item)) {
    if (!`${method} ${path} ${operation.operationId} ${operation.summary}`.toLowerCase().includes(wanted)) continue;
    const tag = operation.tags[0];
    if (!groups.has(tag)) {
      groups.set(tag, [make("section", {}, make("h3", {}, tag)), make("section", {}, make("h2", {}, tag))]);
      index.append(groups.get(tag)[0]); operations.append(groups.get(tag)[1]);
    }
    const [list, cards] = groups.get(tag);
    list.append(make("a", { href: `#${operation.operationId}` }, `${method.toUpperCase()} ${path.replace("/api/v1", "")}`));
    cards.append(card(path, method, operation));
  }
  openTarget();
}

function openTarget() {
  const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.open = true; target.scrollIntoView(); }
}

async function start() {
  api = await (await fetch("/openapi.json")).json();
  byId("version").textContent = api.info.version;
  byId("intro").replaceChildren(...api.info.description.split("\n\n").map((text) => make("p", {}, text)));
  byId("language").value = language;
  byId("language").addEventListener("change", (event) => { language = event.target.value; show(); });
  byId("search").addEventListener("input", show);
  window.addEventListener("hashchange", openTarget);
  show();
}

start();
