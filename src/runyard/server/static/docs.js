// Draws the OpenAPI document of this server. No library, nothing from elsewhere; text is always set as text.

/** Make an element with text and children. */
function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

/** The name of a schema, or its type. */
function shown(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const either = schema.anyOf || schema.oneOf;
  if (either) return either.map(shown).join(" or ");
  if (schema.enum) return schema.enum.map(String).join(" | ");
  if (schema.type === "array") return `list of ${shown(schema.items) || "anything"}`;
  return [].concat(schema.type || "anything").join(" or ");
}

/** Follow one reference. */
function resolved(schema, api) {
  return schema && schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function table(rows) {
  const body = make("tbody");
  for (const [name, kind, text] of rows) {
    body.append(make("tr", "", make("td", "", make("code", name)), make("td", kind), make("td", text)));
  }
  return make("table", "", body);
}

function fields(schema, api) {
  const object = resolved(schema, api);
  const required = new Set((object && object.required) || []);
  return Object.entries((object && object.properties) || {}).map(([name, one]) => [
    name, shown(one), `${required.has(name) ? "required. " : ""}${one.description || ""}`,
  ]);
}

function curl(method, path, operation) {
  const parts = [`curl -X ${method.toUpperCase()} "$RUNYARD_URL${path}" -H "Authorization: Bearer $RUNYARD_TOKEN"`];
  const json = operation.requestBody && operation.requestBody.content["application/json"];
  if (json) parts.push(`  -H 'Content-Type: application/json' -d '${JSON.stringify(json.example ?? {})}'`);
  else if (operation.requestBody) parts.push("  --data-binary @FILE");
  return parts.join(" \\\n");
}

function details(method, path, operation, api) {
  const body = make("div");
  body.className = "body";
  if (operation.description) body.append(make("p", operation.description.replaceAll("`", "")));
  if (operation.parameters.length) {
    body.append(make("h3", "Parameters"));
    body.append(table(operation.parameters.map((one) => [
      one.name, `${one.in}, ${shown(one.schema)}`, `${one.required ? "required. " : ""}${one.description || ""}`,
    ])));
  }
  const json = operation.requestBody && operation.requestBody.content["application/json"];
  if (json) body.append(make("h3", `Body: ${shown(json.schema)}`), table(fields(json.schema, api)));
  const refusals = Object.entries(operation.responses).filter(([status]) => Number(status) >= 400);
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (Number(status) >= 400) continue;
    const content = answer.content && answer.content["application/json"];
    body.append(make("h3", `${status} ${answer.description}${content ? ` ${shown(content.schema)}` : ""}`));
    if (content) body.append(table(fields(content.schema, api)));
  }
  const texts = refusals.map(([status, answer]) => `${status} ${answer.description}`);
  const refused = make("p", texts.join(" "));
  refused.className = "refusals";
  if (texts.length) body.append(make("h3", "Errors"), refused);
  body.append(make("h3", "Call it"), make("pre", curl(method, path, operation)));
  return body;
}

function drawn(method, path, operation, api) {
  const label = make("span", method.toUpperCase());
  label.className = "method";
  const what = make("span", operation.summary);
  what.className = "what";
  const element = make("details", "", make("summary", "", label, make("code", path), what));
  element.id = operation.operationId;
  element.dataset.text = `${method} ${path} ${operation.summary} ${operation.operationId} ${operation.tags.join(" ")}`.toLowerCase();
  element.addEventListener("toggle", () => {
    if (element.open && element.children.length === 1) element.append(details(method, path, operation, api));
  });
  return element;
}

/** The table of error codes; the `type` of a problem document leads to its row. */
function errors(api) {
  const rows = make("tbody");
  for (const one of api["x-error-codes"] || []) {
    const row = make("tr", "", make("td", "", make("code", one.code)), make("td", String(one.status)), make("td", one.description));
    row.id = `error-${one.code}`;
    rows.append(row);
  }
  return make("section", "", make("h2", "Error codes"), make("table", "", rows));
}

function filter(words, all) {
  let left = 0;
  for (const element of all) {
    element.hidden = !words.every((word) => element.dataset.text.includes(word));
    if (!element.hidden) left += 1;
  }
  document.getElementById("count").textContent = `${left} of ${all.length} operations`;
}

async function start() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`the document could not be read: HTTP ${answer.status}`);
  const api = await answer.json();
  const main = document.getElementById("operations");
  const all = [];
  for (const tag of api.tags) {
    main.append(make("h2", tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags[0] !== tag.name) continue;
        const element = drawn(method, path, operation, api);
        all.push(element);
        main.append(element);
      }
    }
  }
  main.append(errors(api));
  const search = document.getElementById("search");
  const apply = () => filter(search.value.toLowerCase().split(/\s+/).filter(Boolean), all);
  search.addEventListener("input", apply);
  apply();
  const named = location.hash && document.getElementById(location.hash.slice(1));
  if (named) { named.open = true; named.scrollIntoView(); }
}

start().catch((error) => { document.getElementById("count").textContent = String(error.message || error); });
