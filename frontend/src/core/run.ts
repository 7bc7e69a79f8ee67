/**
 * The run of one job as its watcher sees it: a pure state machine. `advance` takes a state and what
 * happened, and gives the next state and what is to be done. It knows no clock, no chance, no DOM.
 */

import { FAILURES, type Failure } from "./failure.js";
import { backoff, type Policy } from "./policy.js";
import { gatewayCode, type Progress, parseProgress } from "./progress.js";

export type Status =
  | "idle" // not started
  | "connecting" // asking for a token, then for the stream
  | "open" // reports can come
  | "waiting" // the connection was lost; the next attempt is at `retryAt`
  | "completed"
  | "failed" // `error` says why
  | "cancelled";

export interface State {
  readonly status: Status;
  /** The last report. It stays while the run connects again, and after its end. */
  readonly progress: Progress | null;
  /** Why the run failed, or why it is connecting again. */
  readonly error: Failure | null;
  /** How many times in a row the run had to connect again; 0 while the first connection lasts. */
  readonly attempt: number;
  /** When the next attempt is due, in milliseconds since 1970; only while waiting. */
  readonly retryAt: number | null;
  readonly lastEventId: string;
  /** The number of the step that the run waits for. A signal of another number comes too late. */
  readonly turn: number;
  /** When the present connection opened. */
  readonly openedAt: number | null;
  /** The stream opened at least once in this run, so a refusal now may be a passing one. */
  readonly hasOpened: boolean;
}

/** Where and when a signal came up: the turn it belongs to, the time, and a number in [0, 1). */
interface Origin {
  readonly turn: number;
  readonly now: number;
  readonly random: number;
}

export type Signal =
  | { readonly type: "start" | "cancel" | "reconnect" | "reset" }
  | (Origin & { readonly type: "token"; readonly token: string | null })
  | (Origin & { readonly type: "noToken"; readonly error: Failure; readonly isFinal: boolean })
  | (Origin & { readonly type: "opened" | "wake" })
  | (Origin & { readonly type: "message"; readonly text: string; readonly lastEventId: string })
  | (Origin & { readonly type: "lost"; readonly isRefused: boolean });

export type Action =
  | { readonly type: "getToken"; readonly turn: number }
  | {
      readonly type: "open";
      readonly turn: number;
      readonly token: string | null;
      readonly lastEventId: string;
    }
  | { readonly type: "wait"; readonly turn: number; readonly milliseconds: number }
  /** Close the stream, stop the timer, forget the token that was asked for. */
  | { readonly type: "close" }
  | { readonly type: "malformed"; readonly text: string };

type Next = readonly [State, readonly Action[]];

export const IDLE: State = {
  status: "idle",
  progress: null,
  error: null,
  attempt: 0,
  retryAt: null,
  lastEventId: "",
  turn: 0,
  openedAt: null,
  hasOpened: false,
};

const CLOSE: Action = { type: "close" };

/** The run is under way: it connects, listens, or waits to connect again. */
export const isRunning = ({ status }: Pick<State, "status">): boolean =>
  status === "connecting" || status === "open" || status === "waiting";

export function advance(state: State, signal: Signal, policy: Policy): Next {
  if ("turn" in signal && signal.turn !== state.turn) return [state, []];
  switch (signal.type) {
    case "start":
      return connect({ ...IDLE, turn: state.turn });
    case "cancel":
      return isRunning(state) ? end(state, "cancelled", null) : [state, []];
    case "reset":
      return [{ ...IDLE, turn: state.turn + 1 }, [CLOSE]];
    case "reconnect":
      return state.status === "waiting" ? connect(state) : [state, []];
    case "wake":
      return connect(state);
    case "token":
      return open(state, signal.token);
    case "noToken":
      if (signal.isFinal) return end(state, "failed", signal.error);
      return interrupt(state, signal.error, signal, policy);
    case "opened":
      return [{ ...state, status: "open", error: null, openedAt: signal.now, hasOpened: true }, []];
    case "message":
      return receive({ ...state, lastEventId: signal.lastEventId }, signal, policy);
    case "lost":
      return lose(state, signal, policy);
  }
}

function connect(state: State): Next {
  const turn = state.turn + 1;
  return [
    { ...state, status: "connecting", turn, retryAt: null },
    [CLOSE, { type: "getToken", turn }],
  ];
}

function open(state: State, token: string | null): Next {
  const { turn, lastEventId } = state;
  return [state, [{ type: "open", turn, token, lastEventId }]];
}

function receive(state: State, signal: Origin & { readonly text: string }, policy: Policy): Next {
  const report = parseProgress(signal.text, state.progress?.progress);
  if (report === null) return [state, [{ type: "malformed", text: signal.text }]];
  if (report.status === "processing") return [{ ...state, progress: report }, []];
  if (report.status === "completed") return end({ ...state, progress: report }, "completed", null);
  const code = gatewayCode(report);
  const error = failure(code ?? FAILURES.job_failed.code, report.message);
  if (code !== null && policy.retryCodes.includes(code)) {
    return interrupt(state, error, signal, policy);
  }
  return end({ ...state, progress: report }, "failed", error);
}

function lose(
  state: State,
  signal: Origin & { readonly isRefused: boolean },
  policy: Policy,
): Next {
  // A first refusal is mostly for good: a wrong path, a bad query, no right to it.
  if (signal.isRefused && !state.hasOpened) return end(state, "failed", FAILURES.refused);
  const error = state.openedAt === null ? FAILURES.unreachable : FAILURES.connection_lost;
  return interrupt(state, error, signal, policy);
}

/** The connection is gone, the job may not be: connect again later, or give up and say so. */
function interrupt(state: State, error: Failure, origin: Origin, policy: Policy): Next {
  if (!policy.reconnect) return end(state, "failed", error);
  const { openedAt } = state;
  const wasStable = openedAt !== null && origin.now - openedAt >= policy.stableAfter;
  const attempt = wasStable ? 1 : state.attempt + 1;
  if (attempt > policy.maxAttempts) return end(state, "failed", gaveUp(error, state.attempt));
  const milliseconds = backoff(attempt, origin.random, policy);
  const turn = state.turn + 1;
  const retryAt = origin.now + milliseconds;
  return [
    { ...state, status: "waiting", error, attempt, retryAt, turn, openedAt: null },
    [CLOSE, { type: "wait", turn, milliseconds }],
  ];
}

function end(state: State, status: Status, error: Failure | null): Next {
  return [
    { ...state, status, error, turn: state.turn + 1, retryAt: null, openedAt: null },
    [CLOSE],
  ];
}

const failure = (code: string, message: string): Failure => ({
  code,
  message: message || FAILURES.job_failed.message,
});

const gaveUp = ({ code, message }: Failure, attempts: number): Failure => ({
  code,
  message: attempts > 0 ? `${message} Gave up after ${inWords(attempts)}.` : message,
});

const inWords = (attempts: number): string =>
  attempts === 1 ? "one more attempt" : `${attempts} more attempts`;
