// Shows api.json and lets its operations be tried. No library, nothing from elsewhere.
"use strict";

const login = document.getElementById("login");
let spec = null;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children); // texts stay texts: nothing of the document becomes markup
  return made;
}

function resolved(schema) {
  return schema && schema.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema || {};
}

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const types = [].concat(schema.type || (schema.anyOf || []).map(kind));
  const of = schema.items ? " of " + (kind(schema.items) || "any") : "";
  const words = schema.enum ? ": " + schema.enum.join(", ") : "";
  return types.join(" or ") + of + (schema.format ? " (" + schema.format + ")" : "") + words;
}

function properties(schema) {
  const whole = resolved(schema);
  const rows = Object.entries(whole.properties || {}).map(([name, of]) => {
    const needed = (whole.required || []).includes(name) ? " *" : "";
    const said = of.default === undefined ? "" : "default " + JSON.stringify(of.default);
    return element("tr", {}, element("td", {}, name + needed), element("td", {}, kind(of)), element("td", {}, said));
  });
  return element("table", {}, ...rows);
}

function example(schema) {
  const whole = resolved(schema);
  const made = {};
  for (const name of whole.required || []) made[name] = "";
  return JSON.stringify(made, null, 2);
}

function operation(path, verb, of) {
  const body = element("div", { class: "body" });
  const shown = element("details", {},
    element("summary", {},
      element("b", { class: "verb " + verb }, verb), element("code", {}, path), element("span", {}, of.summary)),
    body);
  shown.dataset.words = (path + " " + of.operationId + " " + of.summary).toLowerCase();
  shown.addEventListener("toggle", () => { if (shown.open && !body.firstChild) fill(body, path, verb, of); });
  return shown;
}

function fill(body, path, verb, of) {
  body.append(element("p", {}, of.description), element("p", {}, "operationId ", element("code", {}, of.operationId)));
  const inputs = {};
  const rows = of.parameters.filter((p) => p.in !== "header").map((p) => {
    inputs[p.name] = element("input", { "aria-label": p.name });
    return element("tr", {}, element("td", {}, p.name + (p.required ? " *" : "")), element("td", {}, kind(p.schema)),
      element("td", {}, inputs[p.name]), element("td", {}, p.description || ""));
  });
  body.append(element("table", {}, ...rows));
  let text = null;
  const json = of.requestBody && of.requestBody.content["application/json"];
  if (of.requestBody) body.append(element("h3", {}, "Body"), properties(Object.values(of.requestBody.content)[0].schema));
  if (json) {
    text = element("textarea", { "aria-label": "body", spellcheck: "false" });
    text.value = example(json.schema);
    body.append(text);
  }
  body.append(element("h3", {}, "Answers"));
  for (const [status, answer] of Object.entries(of.responses)) {
    const content = Object.values(answer.content || {})[0];
    body.append(element("p", {}, element("b", {}, status), " ", answer.description, " ",
      element("code", {}, content ? kind(content.schema) : "")));
  }
  const button = element("button", { type: "button" }, "Send");
  const out = element("pre", {}, "");
  out.hidden = true;
  button.addEventListener("click", async () => {
    out.hidden = false;
    out.textContent = "…";
    out.textContent = await send(path, verb, of, inputs, text).catch(String);
  });
  body.append(button, out);
}

async function send(path, verb, of, inputs, text) {
  const query = new URLSearchParams();
  for (const p of of.parameters) {
    const value = inputs[p.name] ? inputs[p.name].value : "";
    if (p.in === "path") path = path.replace("{" + p.name + "}", encodeURIComponent(value));
    else if (p.in === "query" && value) query.append(p.name, value);
  }
  const headers = { Accept: "application/json" };
  const given = new FormData(login);
  if (given.get("user")) {
    const bytes = new TextEncoder().encode(given.get("user") + ":" + given.get("password"));
    headers.Authorization = "Basic " + btoa(String.fromCharCode(...bytes));
  }
  if (text) headers["Content-Type"] = "application/json";
  const url = path + (query.size ? "?" + query : "");
  headers["X-Requested-With"] = "XMLHttpRequest";
  const answer = await fetch(url, { method: verb.toUpperCase(), headers, body: text ? text.value : undefined, credentials: "omit" });
  const said = await answer.text();
  let shown = said;
  try { shown = JSON.stringify(JSON.parse(said), null, 2); } catch { /* no JSON: as it is */ }
  return answer.status + " " + answer.statusText + "\n" + shown;
}

function find() {
  const words = new FormData(login).get("find").toLowerCase();
  for (const one of document.querySelectorAll("details")) one.hidden = !one.dataset.words.includes(words);
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector("details:not([hidden])");
  }
}

async function show() {
  spec = await (await fetch("api.json?pk_path=1")).json();
  const versions = Object.entries(spec.info["x-pulp-app-versions"]).map(([name, number]) => name + " " + number);
  document.getElementById("about").textContent = spec.info.description + " Behaves as Pulp: " + versions.join(", ") + ".";
  const tags = {};
  for (const [path, verbs] of Object.entries(spec.paths)) {
    for (const [verb, of] of Object.entries(verbs)) (tags[of.tags[0]] ||= []).push(operation(path, verb, of));
  }
  for (const tag of Object.keys(tags).sort()) {
    document.getElementById("tags").append(element("section", {}, element("h2", {}, tag), ...tags[tag]));
  }
}

login.addEventListener("input", find);
login.addEventListener("submit", (event) => event.preventDefault());
show().catch((error) => { document.getElementById("about").textContent = String(error); });
