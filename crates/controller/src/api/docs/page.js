// Shows the Swagger 2.0 document that `?url=` names, if it lies on this server. Whatever the document says
// becomes text, never markup.

const METHODS = ["get", "put", "post", "delete", "options", "head", "patch"];
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Text in which `…` is code and an empty line a new paragraph. */
function prose(text) {
  return String(text ?? "").split(/\n\n+/).filter(Boolean).map((paragraph) => {
    const parts = paragraph.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
    return make("p", {}, ...parts);
  });
}

/** Where the document is. Refuses other servers: a link to this page must not make it show foreign words. */
function source() {
  const url = new URL(new URLSearchParams(location.search).get("url") || "../api-docs", location.href);
  if (url.origin !== location.origin) throw new Error(`The document must lie on this server, not on ${url.origin}.`);
  return url;
}

async function load() {
  const url = source();
  const response = await fetch(url, { headers: { accept: "application/json" }, credentials: "omit" });
  if (!response.ok) throw new Error(`${url.pathname} answered ${response.status}.`);
  const found = await response.json();
  if (found?.swagger !== "2.0") throw new Error(`${url.pathname} is no Swagger 2.0 document.`);
  return found;
}

/** Follows references inside the document. */
function resolve(api, value) {
  for (let depth = 0; value?.$ref && depth < 8; depth += 1) {
    value = value.$ref.replace(/^#\//, "").split("/").reduce((at, key) => at?.[key], api);
  }
  return value ?? {};
}

/** The name of a schema's form, with links to schemas of the document. */
function form(schema) {
  if (!schema) return "nothing";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return make("a", { href: `#schema-${name}` }, name);
  }
  if (schema.type === "array") return make("span", {}, "array of ", form(schema.items ?? {}));
  if (schema.enum) return schema.enum.map(String).join(" | ");
  return [schema.type ?? "any", schema.format].filter(Boolean).join(", ");
}

/** What bounds a parameter. */
function bounds(parameter) {
  const said = [["default", "default"], ["minimum", "from"], ["maximum", "to"], ["maxLength", "longest"]];
  return said.filter(([key]) => parameter[key] !== undefined).map(([key, word]) => `${word} ${parameter[key]}`).join(", ");
}

function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, ...[cell].flat()))));
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, head), make("tbody", {}, ...body)));
}

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** A command that calls the operation with the document's examples. */
function curl(api, path, method, operation, parameters) {
  let target = (api.basePath ?? "").replace(/\/$/, "") + path;
  const words = ["curl"];
  if ((operation.security ?? api.security ?? []).length > 0) words.push('--user "$AUTH"');
  if (method === "head") words.push("--head");
  else if (method !== "get") words.push(`--request ${method.toUpperCase()}`);
  const query = [];
  for (const parameter of parameters) {
    const example = parameter["x-example"] ?? parameter.default;
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(example ?? parameter.name));
    if (parameter.in === "query" && parameter["x-example"] !== undefined) query.push(`${parameter.name}=${encodeURIComponent(example)}`);
    if (parameter.in === "body" && resolve(api, parameter.schema).example) {
      words.push("--header 'Content-Type: application/json'");
      words.push(`--data ${quoted(JSON.stringify(resolve(api, parameter.schema).example))}`);
    }
  }
  const url = location.origin + target + (query.length ? `?${query.join("&")}` : "");
  words.push(quoted(url));
  return words.join(" \\\n  ");
}

function copyable(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      byId("said").textContent = "Copied.";
    } catch {
      byId("said").textContent = "The browser does not let this page copy; select the text.";
    }
    button.textContent = byId("said").textContent === "Copied." ? "Copied" : "Select it";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return [make("pre", {}, text), button];
}

function inside(api, path, method, operation) {
  const parameters = (operation.parameters ?? []).map((parameter) => resolve(api, parameter));
  const content = [...prose(operation.description)];
  if (parameters.length > 0) {
    content.push(make("h3", {}, "Parameters"), table("Parameters", ["name", "in", "type", "meaning"], parameters.map((parameter) => [
      make("code", {}, parameter.name + (parameter.required ? " (required)" : "")),
      parameter.in,
      form(parameter.schema ?? parameter),
      [...prose(parameter.description), make("span", { class: "faint" }, bounds(parameter))],
    ])));
  }
  content.push(make("h3", {}, "Answers"), table("Answers", ["status", "body", "meaning"], Object.entries(operation.responses).map(([status, answer]) => {
    const known = resolve(api, answer);
    return [make("code", {}, status), form(known.schema), prose(known.description)];
  })));
  content.push(make("h3", {}, "Command"), ...copyable(curl(api, path, method, operation, parameters)));
  return make("div", { class: "inside" }, ...content);
}

/** An operation, filled when it is opened for the first time. */
function operation(api, path, method, described) {
  const details = make("details", { id: described.operationId },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()),
      make("span", { class: "path" }, (api.basePath ?? "").replace(/\/$/, "") + path), make("span", { class: "faint" }, described.summary ?? "")));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(inside(api, path, method, described));
  });
  details.dataset.words = [method, path, described.summary, described.description, described.operationId].join(" ").toLowerCase();
  return details;
}

function schema(name, described) {
  const required = new Set(described.required ?? []);
  const rows = Object.entries(described.properties ?? {}).map(([key, value]) => [
    make("code", {}, key + (required.has(key) ? " (required)" : "")), form(value), prose(value.description),
  ]);
  const content = [...prose(described.description)];
  if (described.items) content.push(make("p", {}, "Elements: ", form(described.items)));
  if (rows.length > 0) content.push(table(`Fields of ${name}`, ["field", "type", "meaning"], rows));
  if (described.example !== undefined) content.push(make("h3", {}, "Example"), make("pre", {}, JSON.stringify(described.example, null, 2)));
  return make("details", { id: `schema-${name}` },
    make("summary", {}, make("span", { class: "path" }, name)), make("div", { class: "inside" }, ...content));
}

function groups(api) {
  const found = new Map((api.tags ?? []).map((tag) => [tag.name, { description: tag.description, operations: [] }]));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((method) => methods[method])) {
      const tag = methods[method].tags?.[0] ?? "Other";
      if (!found.has(tag)) found.set(tag, { operations: [] });
      found.get(tag).operations.push(operation(api, path, method, methods[method]));
    }
  }
  return [...found].filter(([, group]) => group.operations.length > 0);
}

function filter() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of document.querySelectorAll("main section")) {
    let here = 0;
    for (const details of section.querySelectorAll("details")) {
      details.hidden = !words.every((word) => details.dataset.words.includes(word));
      here += details.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    shown += here;
  }
  byId("count").textContent = words.length ? `${shown} shown` : `${shown} routes`;
}

/** Opens what the address points at. */
function follow() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

function show(api) {
  document.title = byId("title").textContent = `${api.info.title} ${api.info.version}`;
  byId("about").replaceWith(make("div", { id: "about" }, ...prose(api.info.description)));
  for (const [name, group] of groups(api)) {
    const id = `tag-${name.replaceAll(" ", "-")}`;
    byId("tags").append(make("a", { href: `#${id}` }, name));
    byId("operations").append(make("section", { "aria-labelledby": id },
      make("h2", { id }, name), ...prose(group.description), ...group.operations));
  }
  for (const [name, described] of Object.entries(api.definitions ?? {})) byId("schemas").append(schema(name, described));
  byId("schemas").hidden = false;
  byId("filter").addEventListener("input", filter);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", follow);
  filter();
  follow();
}

try {
  show(await load());
} catch (error) {
  byId("operations").append(make("p", { class: "problem", role: "alert" }, `The document cannot be shown. ${error.message}`));
} finally {
  byId("operations").setAttribute("aria-busy", "false");
}
