// The status page: what the gateway sends each second, until it sends no more.

import { Chart } from "./chart.js";
import { History } from "./history.js";
import { Table } from "./table.js";
import { age, bytes, latency, rate, whole } from "./words.js";

const STALE = 3500; // milliseconds without a word
const AGAIN = 3000; // milliseconds before a connection that was given up is tried again
const SEARCHED = ["route", "subject", "state", "client", "upstream", "id", "method"];

const at = (id) => document.getElementById(id);
const history = new History();
let told = null;
let heardAt = null;
let source = null;

function badge(cell, text, kind) {
  const label = document.createElement("span");
  label.className = "badge";
  label.dataset.kind = kind;
  label.textContent = text;
  cell.append(label);
  return label;
}

function showState(cell, { state }) {
  if (cell.textContent === state) return;
  cell.replaceChildren();
  badge(cell, state, state);
}

function showPath(cell, { path, methods, description }) {
  const shown = [methods.length ? methods.join(" ") : "any method", path, description].join("\n");
  if (cell.dataset.shown === shown) return;
  cell.dataset.shown = shown;
  const name = document.createElement("strong");
  name.textContent = path;
  const more = document.createElement("span");
  more.className = "soft";
  more.textContent = [shown.split("\n", 1)[0], description].filter(Boolean).join(" · ");
  cell.replaceChildren(name, more);
}

function showUpstreams(cell, { upstreams }) {
  const shown = JSON.stringify(upstreams);
  if (cell.dataset.shown === shown) return;
  cell.dataset.shown = shown;
  const list = document.createElement("ul");
  for (const { url, is_up, under_way } of upstreams) {
    const item = list.appendChild(document.createElement("li"));
    badge(item, is_up ? "up" : "down", is_up ? "up" : "down");
    const place = item.appendChild(document.createElement("span"));
    place.textContent = under_way ? `${url} (${whole(under_way)})` : url;
  }
  cell.replaceChildren(list);
}

const text = (name, key) => ({ name, text: (row) => row[key] || "–", value: (row) => row[key] });
const number = (name, key, words) => ({
  name,
  text: (row) => words(row[key]),
  value: (row) => row[key],
  isNumber: true,
});

const routes = new Table(
  at("routes"),
  [
    { name: "Route", render: showPath },
    { name: "Upstreams", render: showUpstreams },
    number("Streams", "active", whole),
    number("Requests", "requests", whole),
    number("Errors", "errors", whole),
  ],
  ({ path, methods }) => `${methods.join(" ")} ${path}`,
);

const streams = new Table(
  at("streams"),
  [
    text("Route", "route"),
    text("Subject", "subject"),
    { ...text("State", "state"), render: showState },
    number("Age", "age_seconds", age),
    number("Sent", "bytes_out", bytes),
    number("Received", "bytes_in", bytes),
    number("Events", "events", whole),
    number("Silent", "silent_seconds", age),
    text("Client", "client"),
    text("Upstream", "upstream"),
    text("Request", "id"),
    number("Worker", "worker", String),
  ],
  ({ id, worker, client }) => `${id} ${worker} ${client}`,
  { name: "Age", isDown: true },
);

const charts = {
  active: new Chart(at("chart-active"), [""], whole),
  flow: new Chart(at("chart-flow"), [""], rate),
  firstByte: new Chart(at("chart-first-byte"), ["p50", "p95"], latency),
};

function showCharts(now) {
  charts.active.draw(now, history.level(({ active }) => active));
  if (told.totals.events === null) {
    charts.flow.rename("Bytes per second", bytes);
    charts.flow.draw(now, history.growth(({ bytes_out }) => bytes_out));
  } else {
    charts.flow.rename("Events per second", rate);
    charts.flow.draw(now, history.growth(({ events }) => events));
  }
  charts.firstByte.draw(now, history.quantile(0.5), history.quantile(0.95));
}

function showStreams() {
  const words = at("filter").value.trim().toLowerCase();
  const isMeant = (row) => SEARCHED.some((key) => row[key].toLowerCase().includes(words));
  const meant = words ? told.streams.filter(isMeant) : told.streams;
  streams.show(meant);
  at("streams").hidden = meant.length === 0;
  at("count").textContent = words ? `${whole(meant.length)} of ${whole(told.count)}` : whole(told.count);
  at("empty").hidden = meant.length > 0;
  at("empty").textContent = told.count ? "No stream matches the filter." : "No stream is under way.";
  at("more").hidden = told.count === told.streams.length;
  at("more").textContent = `Only the ${whole(told.streams.length)} oldest are here; /streams has them all.`;
}

function problems({ keys, upstreams, draining, reload }) {
  return [
    draining.ok ? "" : `Draining: ${whole(draining.streams)} still under way.`,
    keys.ok ? "" : "The issuer's keys have not come.",
    upstreams.routes_without.length ? `No upstream is up for ${upstreams.routes_without.join(", ")}.` : "",
    upstreams.routes_degraded.length ? `Some upstreams are down for ${upstreams.routes_degraded.join(", ")}.` : "",
    reload?.ok === false ? `The changed routes.yaml has ${whole(reload.faults)} faults: see the log.` : "",
  ].filter(Boolean);
}

function showHealth() {
  const [readiness, list] = [at("readiness"), at("problems")];
  readiness.textContent = told.is_ready ? "ready" : "not ready";
  readiness.dataset.kind = told.is_ready ? "up" : "down";
  const found = problems(told.checks);
  list.hidden = found.length === 0;
  if (list.dataset.shown === String(found)) return;
  list.dataset.shown = String(found);
  list.replaceChildren(...found.map((words) => {
    const item = document.createElement("li");
    item.textContent = words;
    return item;
  }));
}

function showConnection() {
  const isStale = heardAt === null ? null : Date.now() - heardAt > STALE;
  document.body.classList.toggle("stale", isStale === true);
  const since = heardAt === null ? "" : new Date(heardAt).toLocaleTimeString();
  const words = isStale ? `Stale: no news since ${since}. Reconnecting…` : "Live";
  const shown = isStale === null ? "Connecting…" : words;
  if (at("connection").textContent !== shown) at("connection").textContent = shown;
}

function take({ data }) {
  told = JSON.parse(data);
  heardAt = Date.now();
  history.add(heardAt / 1000, told.totals);
  showConnection();
  showHealth();
  showCharts(heardAt / 1000);
  routes.show(told.routes);
  showStreams();
}

function connect() {
  source = new EventSource("events");
  source.onmessage = take;
  source.onerror = () => {
    // It comes back by itself, but for an answer that is no event stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN);
  };
}

streams.onsort = () => told && showStreams();
at("filter").addEventListener("input", () => told && showStreams());
setInterval(showConnection, 500);
connect();
