import fc from "fast-check";
import { expect, test } from "vitest";
import { FAILURES, RETRY_CODES } from "../src/core/failure.js";
import { POLICY, type Policy } from "../src/core/policy.js";
import { type Action, advance, IDLE, isRunning, type Signal, type State } from "../src/core/run.js";
import { gatewayError, report } from "./fakeBrowser.js";

/** What happens, without its origin: it comes up in the turn that the run is in. */
type Bare = Signal extends infer S
  ? S extends unknown
    ? Omit<S, "turn" | "now" | "random">
    : never
  : never;

const NO_ORIGIN = ["start", "cancel", "reconnect", "reset"];

function play(signals: readonly object[], policy: Policy = POLICY, from = IDLE): [State, Action[]] {
  let state = from;
  let done: Action[] = [];
  for (const signal of signals as Bare[]) {
    const origin = NO_ORIGIN.includes(signal.type) ? {} : { turn: state.turn, now: 0, random: 0 };
    const [next, actions] = advance(state, { ...origin, ...signal } as Signal, policy);
    state = next;
    done = [...actions];
  }
  return [state, done];
}

const START = { type: "start" };
const TOKEN = { type: "token", token: "t" };
const OPENED = { type: "opened" };
const LOST = { type: "lost", isRefused: false };
const REFUSED = { type: "lost", isRefused: true };
const WAKE = { type: "wake" };
const message = (data: unknown, lastEventId = "") => ({
  type: "message",
  text: typeof data === "string" ? data : JSON.stringify(data),
  lastEventId,
});
const RECONNECTED = [WAKE, TOKEN, OPENED];
const RUNNING = [START, TOKEN, OPENED, message(report(40), "7")];

test("a run asks for a token, opens the stream with it, and listens", () => {
  expect(play([START])[1]).toEqual([{ type: "close" }, { type: "getToken", turn: 1 }]);
  const open = { type: "open", turn: 1, token: "t", lastEventId: "" };
  expect(play([START, TOKEN])[1]).toEqual([open]);
  const [state] = play(RUNNING);
  expect(state).toMatchObject({ status: "open", error: null, attempt: 0 });
  expect(state.progress?.progress).toBe(40);
});

test("a completed job closes the stream", () => {
  const [state, actions] = play([...RUNNING, message({ status: "completed", message: "done" })]);
  expect(state).toMatchObject({ status: "completed", error: null });
  expect(state.progress).toMatchObject({ progress: 100, message: "done" });
  expect(actions).toEqual([{ type: "close" }]);
});

test("a job that failed closes the stream and is not run again", () => {
  const [state, actions] = play([...RUNNING, message(report(50, { status: "error" }))]);
  expect(state.status).toBe("failed");
  expect(state.error).toEqual({ code: "job_failed", message: "50 percent" });
  expect(actions).toEqual([{ type: "close" }]);
});

test("a lost connection is opened again with a fresh token and the last event id", () => {
  const [lost, actions] = play([...RUNNING, LOST]);
  expect(lost).toMatchObject({ status: "waiting", attempt: 1, retryAt: 1_000 });
  expect(lost.error).toEqual(FAILURES.connection_lost);
  expect(lost.progress?.progress).toBe(40);
  expect(actions).toEqual([
    { type: "close" },
    { type: "wait", turn: lost.turn, milliseconds: 1_000 },
  ]);
  const [, asks] = play([WAKE], POLICY, lost);
  expect(asks).toContainEqual({ type: "getToken", turn: lost.turn + 1 });
  const [, opens] = play([WAKE, { type: "token", token: "fresh" }], POLICY, lost);
  expect(opens).toMatchObject([{ type: "open", token: "fresh", lastEventId: "7" }]);
});

test("a new run knows nothing of the last event of the earlier one", () => {
  const [, actions] = play([...RUNNING, START, TOKEN]);
  expect(actions).toMatchObject([{ type: "open", lastEventId: "" }]);
});

test("attempts that fail in a row wait longer each time, then the run fails and says so", () => {
  const policy = { ...POLICY, maxAttempts: 3 };
  let state = play(RUNNING)[0];
  const waits: number[] = [];
  for (let attempt = 1; attempt <= 3; attempt++) {
    const [lost, actions] = play([LOST], policy, state);
    waits.push(...actions.flatMap((a) => (a.type === "wait" ? [a.milliseconds] : [])));
    state = play([WAKE, TOKEN], policy, lost)[0];
  }
  expect(waits).toEqual([1_000, 2_000, 4_000]);
  const [given] = play([LOST], policy, state);
  expect(given.status).toBe("failed");
  expect(given.error?.code).toBe("unreachable");
  expect(given.error?.message).toContain("Gave up after 3 more attempts");
});

test("a stream that opens and breaks at once does not start the count anew", () => {
  const [state] = play([...RUNNING, LOST, ...RECONNECTED, message(report(1)), LOST]);
  expect(state.attempt).toBe(2);
});

test("a connection that lasted starts the count anew", () => {
  const later = { ...LOST, now: POLICY.stableAfter };
  const [state] = play([...RUNNING, LOST, ...RECONNECTED, later]);
  expect(state.attempt).toBe(1);
});

test("without reconnecting, a lost connection is the end", () => {
  const [state, actions] = play([...RUNNING, LOST], { ...POLICY, reconnect: false });
  expect(state).toMatchObject({ status: "failed", error: FAILURES.connection_lost, attempt: 0 });
  expect(actions).toEqual([{ type: "close" }]);
});

test("a first refusal is the end; one after the stream had opened is not", () => {
  expect(play([START, TOKEN, REFUSED])[0]).toMatchObject({
    status: "failed",
    error: FAILURES.refused,
  });
  expect(play([...RUNNING, LOST, WAKE, TOKEN, REFUSED])[0]).toMatchObject({
    status: "waiting",
    attempt: 2,
  });
});

test("a token that was refused for good ends the run; one that could not be had does not", () => {
  const error = { code: "token_refused", message: "Sign in" };
  const final = { type: "noToken", error, isFinal: true };
  expect(play([START, final])[0]).toMatchObject({ status: "failed", error });
  const passing = { type: "noToken", error, isFinal: false };
  expect(play([START, passing])[0]).toMatchObject({ status: "waiting", error, attempt: 1 });
});

test.each(RETRY_CODES)("the gateway's %s is worth another connection", (code) => {
  const [state] = play([...RUNNING, message(gatewayError(code))]);
  expect(state).toMatchObject({ status: "waiting", error: { code, message: `ended: ${code}` } });
  expect(state.progress).toMatchObject({ status: "processing", progress: 40 });
});

test.each(["upstream_timeout", "total_timeout", "resume_gap"])(
  "the gateway's %s is an end, with its reason",
  (code) => {
    const [state] = play([...RUNNING, message(gatewayError(code))]);
    expect(state).toMatchObject({ status: "failed", error: { code, message: `ended: ${code}` } });
  },
);

test("what is no report changes nothing but is told, and its id counts", () => {
  const [state, actions] = play([...RUNNING, message("not JSON", "8")]);
  expect(state.progress?.progress).toBe(40);
  expect(state.lastEventId).toBe("8");
  expect(actions).toEqual([{ type: "malformed", text: "not JSON" }]);
});

test("cancelling ends what runs, and only that", () => {
  const [state, actions] = play([...RUNNING, { type: "cancel" }]);
  expect(state.status).toBe("cancelled");
  expect(actions).toEqual([{ type: "close" }]);
  const completed = play([...RUNNING, message({ status: "completed" })])[0];
  expect(play([{ type: "cancel" }], POLICY, completed)).toEqual([completed, []]);
});

test("a wait can be cut short, and nothing else can be by that", () => {
  const [state] = play([...RUNNING, LOST, { type: "reconnect" }]);
  expect(state).toMatchObject({ status: "connecting", attempt: 1, retryAt: null });
  const running = play(RUNNING)[0];
  expect(play([{ type: "reconnect" }], POLICY, running)).toEqual([running, []]);
});

// Any sequence of what can happen, where `late` says that it comes from an earlier turn.
const step = fc.record({
  late: fc.boolean(),
  now: fc.integer({ min: 0, max: 60_000 }),
  random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  signal: fc.oneof(
    fc.constantFrom(START, { type: "cancel" }, { type: "reconnect" }, { type: "reset" }),
    fc.constantFrom(TOKEN, OPENED, LOST, REFUSED, WAKE),
    fc.constantFrom(
      { type: "noToken", error: FAILURES.token_unavailable, isFinal: false },
      { type: "noToken", error: FAILURES.token_refused, isFinal: true },
    ),
    fc
      .constantFrom(
        report(10),
        report(20, { status: "error" }),
        report(100, { status: "completed" }),
        gatewayError("draining"),
        gatewayError("upstream_timeout"),
        "not JSON",
      )
      .map((data) => message(data, "9")),
  ),
});

test("whatever happens: one stream at a time, bounded attempts, no end without a word", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let state = IDLE;
      let held: "nothing" | "token" | "stream" | "timer" = "nothing";
      for (const { signal, late, now, random } of steps) {
        const isBare = NO_ORIGIN.includes(signal.type);
        const turn = late ? state.turn - 1 : state.turn;
        // Only what is under way can tell anything in its own turn.
        if (!isBare && !late && !canTell(held, signal.type)) continue;
        const whole = { ...(isBare ? {} : { turn, now, random }), ...signal } as Signal;
        const [next, actions] = advance(state, whole, POLICY);
        if (!isBare && late) expect([next, actions]).toEqual([state, []]);
        for (const action of actions) {
          if (action.type === "malformed") continue;
          if (action.type === "close") held = "nothing";
          if (action.type === "getToken") {
            expect(held).toBe("nothing");
            held = "token";
          }
          if (action.type === "open") {
            expect(held).toBe("token");
            held = "stream";
          }
          if (action.type === "wait") {
            expect(held).toBe("nothing");
            expect(action.milliseconds).toBeLessThanOrEqual(POLICY.maxDelay);
            held = "timer";
          }
          if ("turn" in action) expect(action.turn).toBe(next.turn);
        }
        expect(isRunning(next)).toBe(held !== "nothing");
        expect(next.attempt).toBeLessThanOrEqual(POLICY.maxAttempts);
        expect(next.retryAt !== null).toBe(next.status === "waiting");
        if (next.status === "failed" || next.status === "waiting") {
          expect(next.error?.message).toBeTruthy();
        }
        if (next.status === "completed") expect(next.progress?.progress).toBe(100);
        state = next;
      }
    }),
    { numRuns: 500 },
  );
});

function canTell(held: string, type: string): boolean {
  if (type === "token" || type === "noToken") return held === "token";
  return type === "wake" ? held === "timer" : held === "stream";
}
