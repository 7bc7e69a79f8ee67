// Runs jobs and shows their progress. A client of the front-end package watches each job (see
// progress/, which scripts/frontend builds); `viewOf` says what its state means to a person, and
// `show` puts that on the page.

import { ProgressClient, RETRY_CODES, TokenError } from "./progress/index.js";

const STREAM = "/api/v1/process/stream";
const LOGIN = "/demo/login";
const MOST_RUNNING = 5; // over HTTP/1.1 a browser opens six connections to a site: one stays free
const MOST_EVENTS = 500;
const RUNNING = ["connecting", "processing"];
const BADGES = {
  connecting: "Connecting",
  processing: "Running",
  completed: "Completed",
  error: "Failed",
  cancelled: "Cancelled",
  lost: "Connection lost",
  ended: "Ended by the gateway",
  refused: "Refused",
};
// What else a person may want to know, by the code of a failure.
const HINTS = {
  connection_lost: "The service stops a job that nobody watches. Starting again begins at 0 %.",
  refused: "A browser does not tell a page why. Often the token is missing, wrong or expired, or "
    + "the service is down; the developer tools show the status.",
  unreachable: "Is the gateway running, and the network up?",
};

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

const $ = (id) => document.getElementById(id);
const jobs = [];

function start(choice) {
  if (isFull()) return null;
  const job = {
    number: jobs.length + 1,
    choice,
    view: null, // what the card shows
    client: null,
    card: $("job-card").content.firstElementChild.cloneNode(true),
  };
  job.client = clientFor(job);
  jobs.push(job);
  job.card.setAttribute("aria-label", `Job ${job.number}`);
  part(job, "job-progress").setAttribute("aria-label", `Progress of job ${job.number}`);
  const [stop, again] = [part(job, "job-cancel"), part(job, "job-again")];
  stop.setAttribute("aria-label", `Cancel job ${job.number}`);
  stop.addEventListener("click", job.client.cancel);
  again.setAttribute("aria-label", `Start again what job ${job.number} did`);
  again.addEventListener("click", () => startAgain(job));
  $("jobs").prepend(job.card);
  $("no-jobs").hidden = true;
  job.client.subscribe(() => change(job));
  job.client.start();
  return job;
}

// Connecting again would start the job a second time: the page lets the person decide about that.
function clientFor(job) {
  return new ProgressClient(endpointOf(job.choice), {
    reconnect: false,
    getToken: () => tokenFor(job.choice),
    onSignal: ({ type, text }) => {
      if (type === "opened") note(job, "open", "");
      if (type === "message") note(job, "message", text);
    },
  });
}

function endpointOf({ kind, steps, seconds }) {
  const query = new URLSearchParams({ steps, seconds });
  if (kind === "failing") query.set("fail", "1");
  return `${STREAM}?${query}`;
}

/** The token for the URL, or null where the cookie has it. */
async function tokenFor({ token: way }) {
  if (way === "invalid") return "not-a-valid-token";
  const token = await logIn(); // also sets the cookie
  return way === "query" ? token : null;
}

async function logIn() {
  let response;
  try {
    response = await fetch(LOGIN, { method: "POST" });
  } catch {
    throw new TokenError("The log-in did not answer. Is the gateway running?", true);
  }
  if (!response.ok) {
    throw new TokenError(`The log-in answered with status ${response.status}.`, true);
  }
  return (await response.json()).token;
}

/** What the state of a run means to a person. `status` is a key of BADGES. */
function viewOf({ status, progress: report, error }) {
  const { progress = 0, step = "", message = "", data = null } = report ?? {};
  const view = { progress: Math.floor(progress), step, data, hint: "" };
  switch (status) {
    case "open":
      return {
        ...view,
        status: "processing",
        message: report ? message : "Connected; waiting for the first report",
      };
    case "completed":
      return { ...view, status, message };
    case "cancelled":
      return { ...view, status, message: `You cancelled at ${view.progress} %` };
    case "failed":
      return { ...view, ...failureOf(error, view.progress) };
    default:
      return { ...view, status: "connecting", message: "Connecting" };
  }
}

function failureOf({ code, message }, progress) {
  const hint = HINTS[code] ?? "";
  switch (code) {
    case "job_failed":
      return { status: "error", message, hint };
    case "connection_lost":
      return { status: "lost", message: `The connection was lost at ${progress} %`, hint };
    case "refused":
      return { status: "refused", message: "The stream was refused", hint };
    case "unreachable":
      return { status: "refused", message: "No connection could be made", hint };
    case "token_refused":
    case "token_unavailable":
      return { status: "refused", message: "No token could be had", hint: message };
    default: // the gateway's own, which says why
      if (RETRY_CODES.includes(code)) return { status: "lost", message, hint: HINTS.connection_lost };
      return { status: "ended", message, hint: `At ${progress} %: ${code}`, data: null };
  }
}

function startAgain(job) {
  const next = start(job.choice);
  if (next) part(next, "job-cancel").focus();
}

// The focused Cancel button has gone: go on to what takes its place, or can be used.
function focusAfter(job) {
  const again = part(job, "job-again");
  (again.disabled ? document.querySelector("[data-testid=start]") : again).focus();
}

function change(job) {
  const before = job.view;
  job.view = viewOf(job.client.snapshot());
  const { status, step, message } = job.view;
  const hasEnded = !isRunning(job) && before !== null && RUNNING.includes(before.status);
  if (hasEnded) note(job, "closed", `${BADGES[status]}: ${message}`);
  const hadFocus = document.activeElement === part(job, "job-cancel");
  show(job);
  if (hasEnded && hadFocus) focusAfter(job);
  if (before?.step !== step || before?.status !== status) announce(job);
}

function show(job) {
  const { view } = job;
  job.card.dataset.status = view.status;
  write(job, "job-name", `Job ${job.number}`);
  write(job, "job-status", BADGES[view.status]);
  write(job, "job-step", view.step);
  write(job, "job-percent", `${view.progress} %`);
  write(job, "job-message", view.message);
  write(job, "job-hint", view.hint);
  write(job, "job-result", view.data ? JSON.stringify(view.data, null, 2) : "");
  write(job, "job-order", describe(job.choice));
  const bar = part(job, "job-progress");
  bar.setAttribute("aria-valuenow", view.progress);
  bar.style.setProperty("--progress", view.progress / 100);
  part(job, "job-cancel").hidden = !isRunning(job);
  part(job, "job-again").hidden = isRunning(job);
  showRoom();
}

function showRoom() {
  const full = isFull();
  $("full").hidden = !full;
  for (const button of document.querySelectorAll("[data-testid=start], [data-testid=job-again]")) {
    button.disabled = full;
  }
}

const isRunning = (job) => RUNNING.includes(job.view?.status);

const isFull = () => jobs.filter(isRunning).length >= MOST_RUNNING;

const part = (job, name) => job.card.querySelector(`[data-testid=${name}]`);

function write(job, name, text) {
  const element = part(job, name);
  element.textContent = text;
  element.hidden = !text;
}

function describe({ kind, steps, seconds, token }) {
  const ways = { query: "token in the URL", cookie: "token in a cookie", invalid: "invalid token" };
  const fails = kind === "failing" ? ", failing" : "";
  return `${steps} steps in ${seconds} s${fails}, ${ways[token]}`;
}

// A change of step or status is read out; every single percent would be noise.
function announce(job) {
  const { status, step, message } = job.view;
  const news = status === "processing" && step ? step : `${BADGES[status]}. ${message}`;
  $("announcer").textContent = `Job ${job.number}: ${news}`;
}

function note(job, type, text) {
  const line = document.createElement("li");
  const time = CLOCK.format(new Date());
  for (const [name, value] of Object.entries({ time, job: `job ${job.number}`, type, data: text })) {
    const cell = document.createElement("span");
    cell.className = name;
    cell.textContent = value;
    line.append(cell);
  }
  line.dataset.type = type;
  const box = $("events-box");
  const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  $("events").append(line);
  if ($("events").childElementCount > MOST_EVENTS) $("events").firstElementChild.remove();
  showEvents();
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

function showEvents() {
  const isEmpty = !$("events").childElementCount;
  $("events-box").hidden = isEmpty;
  $("no-events").hidden = !isEmpty;
}

$("start-form").addEventListener("submit", (event) => {
  event.preventDefault();
  start(Object.fromEntries(new FormData(event.target)));
});
$("clear").addEventListener("click", () => {
  $("events").replaceChildren();
  showEvents();
});
