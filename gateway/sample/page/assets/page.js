// Runs jobs and shows their progress. Each job's state is one object; `show` puts it on the page.

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
  refused: "Refused",
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
    status: "connecting", // a key of BADGES
    progress: 0,
    step: "",
    message: "Asking for a token",
    hint: "",
    data: null,
    source: null,
    card: $("job-card").content.firstElementChild.cloneNode(true),
  };
  jobs.push(job);
  job.card.setAttribute("aria-label", `Job ${job.number}`);
  part(job, "job-progress").setAttribute("aria-label", `Progress of job ${job.number}`);
  const [stop, again] = [part(job, "job-cancel"), part(job, "job-again")];
  stop.setAttribute("aria-label", `Cancel job ${job.number}`);
  stop.addEventListener("click", () => cancel(job));
  again.setAttribute("aria-label", `Start again what job ${job.number} did`);
  again.addEventListener("click", () => startAgain(job));
  $("jobs").prepend(job.card);
  $("no-jobs").hidden = true;
  change(job, {});
  connect(job);
  return job;
}

async function connect(job) {
  let url;
  try {
    url = await address(job.choice);
  } catch (error) {
    end(job, "refused", "No token could be had", error.message);
    return;
  }
  if (job.status !== "connecting") return; // cancelled meanwhile
  change(job, { message: "Connecting" });
  const source = new EventSource(url, { withCredentials: true });
  job.source = source;
  source.onopen = () => {
    note(job, "open", "");
    change(job, { status: "processing", message: "Connected; waiting for the first report" });
  };
  source.onmessage = (event) => receive(job, event.data);
  source.onerror = () => fail(job, source.readyState === EventSource.CLOSED);
}

/** The URL of the stream. Rejects with an Error for people when the log-in gives no token. */
async function address({ kind, steps, seconds, token: way }) {
  const query = new URLSearchParams({ steps, seconds });
  if (kind === "failing") query.set("fail", "1");
  if (way === "invalid") return `${STREAM}?${query}&token=not-a-valid-token`;
  const token = await logIn(); // also sets the cookie
  return `${STREAM}?${query}` + (way === "query" ? "&token=" + encodeURIComponent(token) : "");
}

async function logIn() {
  let response;
  try {
    response = await fetch(LOGIN, { method: "POST" });
  } catch {
    throw new Error("The log-in did not answer. Is the gateway running?");
  }
  if (!response.ok) throw new Error(`The log-in answered with status ${response.status}.`);
  return (await response.json()).token;
}

function receive(job, text) {
  note(job, "message", text);
  let report;
  try {
    report = JSON.parse(text);
  } catch {
    end(job, "error", "The service sent something that is not JSON");
    return;
  }
  const { status, progress, message, step, data = null } = report;
  change(job, { progress, message, step, data });
  if (status !== "processing") end(job, status === "completed" ? status : "error", message);
}

// An EventSource that is not closed would connect again by itself, and so start the job anew.
function fail(job, isClosed) {
  if (job.status === "processing") {
    end(job, "lost", `The connection was lost at ${job.progress} %`,
      "The service stops a job that nobody watches. Starting again begins at 0 %.");
  } else if (isClosed) {
    end(job, "refused", "The stream was refused",
      "A browser does not tell a page why. Often the token is missing, wrong or expired, or the "
      + "service is down; the developer tools show the status.");
  } else {
    end(job, "refused", "No connection could be made", "Is the gateway running, and the network up?");
  }
}

function cancel(job) {
  end(job, "cancelled", `You cancelled at ${job.progress} %`);
}

function startAgain(job) {
  const next = start(job.choice);
  if (next) part(next, "job-cancel").focus();
}

function end(job, status, message, hint = "") {
  job.source?.close();
  note(job, "closed", `${BADGES[status]}: ${message}`);
  const hadFocus = document.activeElement === part(job, "job-cancel");
  change(job, { status, message, hint });
  if (hadFocus) focusAfter(job);
}

// The focused Cancel button has gone: go on to what takes its place, or can be used.
function focusAfter(job) {
  const again = part(job, "job-again");
  (again.disabled ? document.querySelector("[data-testid=start]") : again).focus();
}

function change(job, changes) {
  const before = { ...job };
  Object.assign(job, changes);
  show(job);
  const isNews = before.step !== job.step || before.status !== job.status;
  if (isNews) announce(job);
}

function show(job) {
  const isRunning = RUNNING.includes(job.status);
  job.card.dataset.status = job.status;
  write(job, "job-name", `Job ${job.number}`);
  write(job, "job-status", BADGES[job.status]);
  write(job, "job-step", job.step);
  write(job, "job-percent", `${job.progress} %`);
  write(job, "job-message", job.message);
  write(job, "job-hint", job.hint);
  write(job, "job-result", job.data ? JSON.stringify(job.data, null, 2) : "");
  write(job, "job-order", describe(job.choice));
  const bar = part(job, "job-progress");
  bar.setAttribute("aria-valuenow", job.progress);
  bar.style.setProperty("--progress", job.progress / 100);
  part(job, "job-cancel").hidden = !isRunning;
  part(job, "job-again").hidden = isRunning;
  showRoom();
}

function showRoom() {
  const full = isFull();
  $("full").hidden = !full;
  for (const button of document.querySelectorAll("[data-testid=start], [data-testid=job-again]")) {
    button.disabled = full;
  }
}

const isFull = () => jobs.filter((job) => RUNNING.includes(job.status)).length >= MOST_RUNNING;

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
  const isRunning = job.status === "processing";
  const news = isRunning && job.step ? job.step : `${BADGES[job.status]}. ${job.message}`;
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
