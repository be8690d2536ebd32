// The page of `holdfast web`. What others have chosen, such as names, is only ever set as the text of a node.
"use strict";

const ROWS = 100; // on one page of the table
const AGAIN = 2000; // milliseconds until the next attempt, when the last one has failed
const FOCUSABLE = "[tabindex], summary";
const SVG = "http://www.w3.org/2000/svg";

const at = (id) => document.getElementById(id);
const seen = { look: 0, names: [], deadlocks: [], silent: [] };
const view = { sort: "waiting", descending: true, page: 0, open: null, graph: false };

let pressed = false; // a button of the mouse, or a finger

// --- what the server says

async function ask(path, signal) {
  const answer = await fetch(path, { signal, cache: "no-store", credentials: "same-origin" });
  if (answer.ok) return answer.json();
  const text = (await answer.text()).trim();
  const error = new Error(answer.status === 401 ? "holdfast web was started anew: open the URL that it has printed" : text);
  error.status = answer.status;
  throw error;
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

let watching = null;

// One request after the other: the server answers when the next look is due. A page that nobody sees asks for nothing.
async function watch() {
  const mine = new AbortController();
  watching = mine;
  while (!mine.signal.aborted) {
    try {
      const told = await ask(`api/overview?after=${seen.look}`, mine.signal);
      if (mine.signal.aborted) return;
      Object.assign(seen, told);
      at("where").textContent = told.where;
      at("moment").textContent = `looked at ${new Date(told.at * 1000).toLocaleTimeString()}`;
      trouble(told.unreadable.join("; "));
      if (!pressed) draw();
      await Promise.all([drawDetail(mine.signal), drawGraph(mine.signal)]);
    } catch (error) {
      if (mine.signal.aborted) return;
      trouble(error.status ? error.message : "holdfast web does not answer; it may have ended");
      if (error.status === 401) return;
      await pause(AGAIN);
    }
  }
}

function stop() {
  if (watching !== null) watching.abort();
  watching = null;
}

function trouble(text) {
  at("trouble").hidden = !text;
  if (at("trouble").textContent !== text) at("trouble").textContent = text;
}

// --- how things are written

function element(tag, text, attributes) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

function drawn(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Letters that cannot be seen, or that turn the direction of the text, are shown as in Python.
const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]/gu;
const printable = (text) => text.replace(HIDDEN, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

function duration(seconds) {
  if (seconds === null) return "-";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const two = (number) => String(number).padStart(2, "0");
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)} min`;
}

const since = (moment) => (moment === null ? null : Math.max(0, seen.at - Date.parse(moment) / 1000));
const plural = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

// Put new parts in the place of the old ones: what is scrolled, opened or has the focus stays so. What is being copied, or
// clicked, stays for the time being.
function renew(box, parts) {
  const selection = getSelection();
  if (pressed || (!selection.isCollapsed && box.contains(selection.anchorNode))) return false;
  const all = (selector) => [...box.querySelectorAll(selector)];
  const scrolled = all(".wide").map((each) => each.scrollLeft);
  const opened = all("details").map((each) => each.open);
  const focused = all(FOCUSABLE).indexOf(document.activeElement);
  const id = focused < 0 ? undefined : document.activeElement.dataset.id;
  box.replaceChildren(...parts);
  all(".wide").forEach((each, index) => (each.scrollLeft = scrolled[index] ?? 0));
  all("details").forEach((each, index) => (each.open = opened[index] ?? false));
  const again = id === undefined ? all(FOCUSABLE)[focused] : all(FOCUSABLE).find((each) => each.dataset.id === id);
  if (again) again.focus({ preventScroll: true });
  return true;
}

// --- the table

const KEYS = {
  name: (row) => row.name,
  kind: (row) => row.kind,
  holders: (row) => row.holders.join(", "),
  held: (row) => row.held ?? -1,
  waiting: (row) => row.waiting,
  longest_wait: (row) => row.longest_wait ?? -1,
  grants_per_second: (row) => row.grants_per_second ?? -1,
};
const TEXTS = ["name", "kind", "holders"];
const order = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

function sorted(rows) {
  const key = KEYS[view.sort];
  const sign = view.descending ? -1 : 1;
  return rows.sort(
    (one, other) =>
      sign * order(key(one), key(other)) ||
      order(other.longest_wait ?? -1, one.longest_wait ?? -1) ||
      order(one.name, other.name),
  );
}

const isIdle = (row) => !(row.holders.length || row.waiting || row.dead || row.closed.length);

function wanted() {
  const text = at("search").value.toLowerCase();
  const idle = at("idle").checked;
  const has = (row) => [row.name, row.kind, ...row.holders].some((each) => each.toLowerCase().includes(text));
  return seen.names.filter((row) => (idle || !isIdle(row)) && (!text || has(row)));
}

function cells(row) {
  // What is wrong with a name stands first, as a narrow window shows that much of it.
  const wrong = [...(row.deadlock ? ["in a deadlock"] : []), ...(row.dead ? [`${row.dead} dead`] : []), ...row.closed];
  return [
    row.kind,
    [...wrong, ...row.holders].map(printable).join(", ") || "-",
    duration(row.held),
    row.waiting.toLocaleString("en"),
    duration(row.longest_wait),
    row.grants_per_second === null ? "-" : row.grants_per_second.toFixed(1),
  ];
}

function fill(line, row, red) {
  const button = line.firstChild.firstChild;
  button.textContent = printable(row.name);
  button.title = printable(row.name);
  line.name = row.name;
  cells(row).forEach((text, index) => {
    const cell = line.children[index + 1];
    if (cell.textContent !== text) cell.textContent = text;
    if (index < 2) cell.title = text;
  });
  line.classList.toggle("bad", red);
  line.classList.toggle("open", row.name === view.open);
}

function newLine() {
  const line = element("tr");
  const first = element("th", undefined, { scope: "row" });
  first.append(element("button", "", { type: "button" }));
  line.append(first);
  for (let index = 0; index < 6; index++) line.append(element("td", "", index > 1 ? { class: "number" } : {}));
  return line;
}

function draw() {
  const rows = sorted(wanted());
  const pages = Math.max(1, Math.ceil(rows.length / ROWS));
  view.page = Math.min(view.page, pages - 1);
  const shown = rows.slice(view.page * ROWS, (view.page + 1) * ROWS);
  const body = at("table").tBodies[0];
  const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").name : null;
  while (body.rows.length > shown.length) body.lastChild.remove();
  while (body.rows.length < shown.length) body.append(newLine());
  shown.forEach((row, index) => fill(body.rows[index], row, row.dead > 0 || row.deadlock));
  if (focused !== null) {
    // The focus stays with the name, wherever the order has put it.
    const line = [...body.rows].find((each) => each.name === focused);
    if (line) line.firstChild.firstChild.focus({ preventScroll: true });
  }
  for (const header of document.querySelectorAll("th[data-sort]")) {
    const direction = view.descending ? "descending" : "ascending";
    header.setAttribute("aria-sort", header.dataset.sort === view.sort ? direction : "none");
  }
  const left = seen.names.length - rows.length;
  const first = view.page * ROWS;
  const range = pages > 1 ? `: ${first + 1} to ${first + shown.length}` : "";
  const hidden = left ? `; ${left.toLocaleString("en")} of ${plural(seen.names.length, "name")} not shown` : "";
  const count = `${plural(rows.length, "name")}${range}${hidden}`;
  if (at("count").textContent !== count) at("count").textContent = count;
  at("pages").hidden = pages === 1;
  at("before").disabled = view.page === 0;
  at("next").disabled = view.page === pages - 1;
  drawDeadlocks();
}

function drawDeadlocks() {
  const box = at("deadlocks");
  const stories = seen.deadlocks.map((each) => printable(each.story));
  box.hidden = !stories.length;
  // What has not changed is left alone: a screen reader reads aloud what is new.
  const told = JSON.stringify(stories);
  const silent = seen.silent.length;
  at("silent").hidden = !silent;
  at("silent").textContent =
    `${plural(silent, "session")} ${silent === 1 ? "has" : "have"} not said in time what ${silent === 1 ? "its" : "their"} ` +
    "tasks wait for. New deadlocks with them are not found.";
  at("silent").title = seen.silent.map(printable).join(", ");
  if (box.dataset.told === told) return;
  box.dataset.told = told;
  box.replaceChildren(...seen.deadlocks.flatMap((each, index) => [element("p", stories[index]), ...each.names.map(opener)]));
}

function opener(name) {
  const made = element("button", printable(name), { type: "button" });
  made.addEventListener("click", () => open(name));
  return made;
}

// --- one name

async function drawDetail(signal) {
  const name = view.open;
  if (name === null) return;
  let told;
  try {
    told = await ask(`api/name?name=${encodeURIComponent(name)}`, signal);
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  if (view.open !== name) return;
  at("detail-name").textContent = printable(name);
  const parts = told ? [...detail(told), ...(await around(told, signal))] : [element("p", "Nobody uses this name any more.")];
  if (view.open === name) renew(at("detail-body"), parts);
}

async function around(told, signal) {
  if (!told.waiters.length) return [];
  return [element("h3", "Who waits for whom"), ...graph(await ask(`api/graph?name=${encodeURIComponent(told.name)}`, signal))];
}

function detail(told) {
  const state = Object.entries(told.state).map(([key, value]) => `${key.replaceAll("_", " ")}: ${value === true ? "yes" : value === false ? "no" : value}`);
  const parts = [element("p", [`${told.kind}, made by ${printable(told.made_by)}`, ...state, ...told.closed.map(printable)].join(", "))];
  const people = [
    ...told.holders.map((each) => who("holds", each.session, each.since, share(each), each.token)),
    ...told.waiters.map((each) => who("waits", each.session, each.since, asks(each), null)),
    ...told.dead.map((each) => who("dead", each.session ?? { name: each.id }, null, left(each), null)),
  ];
  if (people.length) parts.push(table(["role", "session", "process", "for", "token", "note", "command"], people));
  for (const [number, word] of [[told.holders_left_out, "holder"], [told.waiters_left_out, "more line"]]) {
    if (number) parts.push(element("p", `${plural(number, word)} of this table left out.`, { class: "quiet" }));
  }
  for (const each of told.evictions) {
    const reason = each.reason ? `: ${printable(each.reason)}` : "";
    parts.push(element("p", `${printable(each.session.name)}, who held it, was evicted${reason}`));
  }
  parts.push(...histogram(told));
  return parts;
}

function who(does, session, moment, what, token) {
  const more = [session.stopped ? "stopped" : "", what].filter(Boolean).join(", ");
  const process = session.pid ? `pid ${session.pid} on ${printable(session.host)}` : "-";
  return [does, printable(session.name), process, duration(since(moment)), token === null ? "-" : String(token), more, printable(session.command ?? "")];
}

function share(holding) {
  if (holding.side !== null) return holding.permits > 1 ? `${holding.permits} ${holding.side}s` : holding.side;
  return holding.permits > 1 ? `${holding.permits} permits` : "";
}

function asks(waiting) {
  return [
    waiting.tasks > 1 ? `${waiting.tasks} tasks` : "",
    waiting.permits > 1 ? `for ${waiting.permits}${waiting.tasks > 1 ? " each" : ""}` : "",
    waiting.side === null ? "" : waiting.side === "reader" ? "to read" : "to write",
    waiting.condition === null ? "" : `to be notified of '${printable(waiting.condition)}'`,
  ].filter(Boolean).join(" ");
}

const left = (dead) => [dead.permits ? `held ${dead.permits}` : "", dead.tasks ? `${dead.tasks} waited` : ""].filter(Boolean).join(", ");

function table(headers, rows) {
  const made = element("table");
  const head = element("tr");
  head.append(...headers.map((each) => element("th", each, { scope: "col" })));
  made.createTHead().append(head);
  const body = made.createTBody();
  for (const row of rows) {
    const line = element("tr", undefined, row[0] === "dead" ? { class: "bad" } : {});
    line.append(...row.map((each) => element("td", each)));
    body.append(line);
  }
  const wide = element("div", undefined, { class: "wide", tabindex: "0", role: "region", "aria-label": "Sessions" });
  wide.append(made);
  return wide;
}

function histogram(told) {
  const [width, height, label, number] = [560, 20, 130, 60];
  const most = Math.max(1, ...told.wait_times.map((each) => each.under_way + each.ended));
  const picture = drawn("svg", {
    class: "bars", viewBox: `0 0 ${width} ${height * told.wait_times.length}`, role: "img", "aria-label": "Wait times",
  });
  let lower = 0;
  told.wait_times.forEach((each, index) => {
    const y = index * height;
    const text = each.up_to === null ? `over ${length(lower)}` : `${lower ? length(lower) : "0"} to ${length(each.up_to)}`;
    const scale = (width - label - number) / most;
    picture.append(
      drawn("text", { x: label - 8, y: y + 14, "text-anchor": "end", class: "quiet" }, text),
      drawn("rect", { class: "under-way", x: label, y: y + 3, height: height - 6, width: each.under_way * scale }),
      drawn("rect", { class: "ended", x: label + each.under_way * scale, y: y + 3, height: height - 6, width: each.ended * scale }),
    );
    if (each.under_way + each.ended) {
      const end = label + (each.under_way + each.ended) * scale + 6;
      picture.append(drawn("text", { x: end, y: y + 14 }, `${each.under_way} + ${each.ended}`));
    }
    lower = each.up_to;
  });
  const start = new Date(told.watched_since * 1000).toLocaleTimeString();
  const sum = (key) => told.wait_times.reduce((total, each) => total + each[key], 0);
  const underWay = element("span", `${sum("under_way")} under way`);
  const ended = element("span", `${sum("ended")} seen to end since ${start}`);
  underWay.prepend(element("span", undefined, { class: "key under-way" }));
  ended.prepend(element("span", undefined, { class: "key ended" }));
  const legend = element("p", undefined, { class: "legend" });
  legend.append(underWay, ended);
  const honest =
    "Counted while a page was open. A wait that began and ended between two looks is in neither, so short waits are " +
    "missing. A wait that has ended got what it waited for, was given up, or died with its process.";
  return [element("h3", "How long they wait"), legend, picture, element("p", honest, { class: "quiet" })];
}

function length(seconds) {
  return seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`;
}

function open(name) {
  view.open = name;
  at("detail").hidden = name === null;
  draw();
  if (name === null) return;
  at("detail-name").textContent = printable(name);
  at("detail-body").replaceChildren();
  at("detail").scrollTop = 0;
  at("detail").focus({ preventScroll: true });
  now(drawDetail);
}

function close() {
  const name = view.open;
  open(null);
  const line = [...at("table").tBodies[0].rows].find((each) => each.name === name);
  if (line) line.firstChild.firstChild.focus();
}

// Draw at once what was opened, from the look that is there.
function now(drawing) {
  const signal = watching === null ? undefined : watching.signal;
  drawing(signal).catch((error) => {
    if (signal === undefined || !signal.aborted) trouble(error.message);
  });
}

// --- who waits for whom

async function drawGraph(signal) {
  if (!view.graph) return;
  const told = await ask("api/graph", signal);
  const text = JSON.stringify(told);
  if (at("graph").told !== text && renew(at("graph"), graph(told))) at("graph").told = text;
}

let pictures = 0;
const SAYS = { waits: "waits for", holds: "is held by", notify: "waits to be notified of" };

function graph(told) {
  const says = element("p", told.says, { class: "quiet" });
  if (!told.nodes.length) return [says];
  const labels = Object.fromEntries(told.nodes.map((each) => [each.id, printable(each.label)]));
  const sentences = told.arrows.map((each) => `${labels[each.one]} ${SAYS[each.how]} ${labels[each.other]}`);
  const prefix = `head-${++pictures}`; // an id is that of one picture: the others may not be shown
  const picture = drawn("svg", { width: told.width, height: told.height, role: "group", "aria-label": "Who waits for whom" });
  picture.append(arrowheads(prefix), ...told.arrows.map((each, index) => arrow(each, sentences[index], prefix)), ...told.nodes.map((each) => node(each, told)));
  const wide = element("div", undefined, { class: "wide", tabindex: "0", role: "region", "aria-label": "Picture" });
  wide.append(picture);
  const words = element("details");
  words.append(element("summary", "The same in words"), list(sentences));
  return [says, key(), wide, words];
}

function key() {
  const text = "An arrow leads from who waits to the name, and from the name to who holds it. Dashed: waits to be notified. Red: a deadlock.";
  return element("p", text, { class: "quiet" });
}

function list(texts) {
  const made = element("ul");
  made.append(...texts.map((each) => element("li", each)));
  return made;
}

function arrowheads(prefix) {
  const made = drawn("defs", {});
  for (const kind of ["waits", "holds", "notify", "bad"]) {
    const marker = drawn("marker", { id: `${prefix}-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto", markerUnits: "userSpaceOnUse" });
    marker.append(drawn("path", { d: "M0 0L8 4L0 8z", class: `head ${kind}` }));
    made.append(marker);
  }
  return made;
}

function arrow(each, sentence, prefix) {
  const kind = each.bad ? "bad" : each.how;
  const path = drawn("path", { d: each.path, class: `edge ${each.how}${each.bad ? " bad" : ""}`, "marker-end": `url(#${prefix}-${kind})` });
  path.append(drawn("title", {}, each.tasks > 1 ? `${sentence} (${each.tasks})` : sentence));
  return path;
}

const shortened = (text, most) => (text.length > most ? `${[...text].slice(0, most - 1).join("")}\u2026` : text);

function node(each, told) {
  const label = printable(each.label);
  const made = drawn("g", { class: `node ${each.what}${each.bad ? " bad" : ""}`, transform: `translate(${each.x} ${each.y})` });
  made.append(
    drawn("title", {}, `${label}\n${printable(each.note)}`),
    drawn("rect", { width: told.node_width, height: told.node_height, rx: each.what === "name" ? 4 : told.node_height / 2 }),
    drawn("text", { x: told.node_width / 2, y: 17, "text-anchor": "middle" }, shortened(label, 22)),
    drawn("text", { x: told.node_width / 2, y: 32, "text-anchor": "middle", class: "quiet note" }, shortened(printable(each.note), 28)),
  );
  if (each.what === "name") {
    made.dataset.id = each.id;
    for (const [name, value] of [["tabindex", "0"], ["role", "button"], ["aria-label", `${label}, ${each.note}`]]) made.setAttribute(name, value);
    made.addEventListener("click", () => open(each.label));
    made.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        open(each.label);
      }
    });
  }
  return made;
}

// --- what the user does

function show(graph) {
  view.graph = graph;
  at("names").hidden = graph;
  at("graph").hidden = !graph;
  at("show-names").setAttribute("aria-pressed", String(!graph));
  at("show-graph").setAttribute("aria-pressed", String(graph));
  if (graph) now(drawGraph);
}

function start() {
  at("search").addEventListener("input", () => { view.page = 0; draw(); });
  at("idle").addEventListener("change", draw);
  at("before").addEventListener("click", () => { view.page -= 1; draw(); });
  at("next").addEventListener("click", () => { view.page += 1; draw(); });
  at("close").addEventListener("click", close);
  at("show-names").addEventListener("click", () => show(false));
  at("show-graph").addEventListener("click", () => show(true));
  for (const header of document.querySelectorAll("th[data-sort]")) {
    header.firstElementChild.addEventListener("click", () => {
      const key = header.dataset.sort;
      view.descending = view.sort === key ? !view.descending : !TEXTS.includes(key);
      view.sort = key;
      view.page = 0;
      draw();
    });
  }
  for (const [kind, down] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) {
    document.addEventListener(kind, () => (pressed = down), true);
  }
  const body = at("table").tBodies[0];
  body.addEventListener("click", (event) => open(event.target.closest("tr").name));
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const line = step && event.target.closest("tr")[step];
    if (line) {
      event.preventDefault();
      line.firstChild.firstChild.focus();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && view.open !== null && event.target !== at("search")) close();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : watching || watch()));
  if (!document.hidden) watch();
}

start();
