/**
 * The run of one job as its watcher sees it: a pure state machine. `advance` takes a state and what
 * happened, and gives the next state and what is to be done. It knows no clock, no chance, no DOM.
 */
import { FAILURES } from "./failure.js";
import { backoff } from "./policy.js";
import { gatewayCode, parseProgress } from "./progress.js";
export const IDLE = {
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
const CLOSE = { type: "close" };
/** The run is under way: it connects, listens, or waits to connect again. */
export const isRunning = ({ status }) => status === "connecting" || status === "open" || status === "waiting";
export function advance(state, signal, policy) {
    if ("turn" in signal && signal.turn !== state.turn)
        return [state, []];
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
            if (signal.isFinal)
                return end(state, "failed", signal.error);
            return interrupt(state, signal.error, signal, policy);
        case "opened":
            return [{ ...state, status: "open", error: null, openedAt: signal.now, hasOpened: true }, []];
        case "message":
            return receive({ ...state, lastEventId: signal.lastEventId }, signal, policy);
        case "lost":
            return lose(state, signal, policy);
    }
}
function connect(state) {
    const turn = state.turn + 1;
    return [
        { ...state, status: "connecting", turn, retryAt: null },
        [CLOSE, { type: "getToken", turn }],
    ];
}
function open(state, token) {
    const { turn, lastEventId } = state;
    return [state, [{ type: "open", turn, token, lastEventId }]];
}
function receive(state, signal, policy) {
    const report = parseProgress(signal.text, state.progress?.progress);
    if (report === null)
        return [state, [{ type: "malformed", text: signal.text }]];
    if (report.status === "processing")
        return [{ ...state, progress: report }, []];
    if (report.status === "completed")
        return end({ ...state, progress: report }, "completed", null);
    const code = gatewayCode(report);
    const error = failure(code ?? FAILURES.job_failed.code, report.message);
    if (code !== null && policy.retryCodes.includes(code)) {
        return interrupt(state, error, signal, policy);
    }
    return end({ ...state, progress: report }, "failed", error);
}
function lose(state, signal, policy) {
    // A first refusal is mostly for good: a wrong path, a bad query, no right to it.
    if (signal.isRefused && !state.hasOpened)
        return end(state, "failed", FAILURES.refused);
    const error = state.openedAt === null ? FAILURES.unreachable : FAILURES.connection_lost;
    return interrupt(state, error, signal, policy);
}
/** The connection is gone, the job may not be: connect again later, or give up and say so. */
function interrupt(state, error, origin, policy) {
    if (!policy.reconnect)
        return end(state, "failed", error);
    const { openedAt } = state;
    const wasStable = openedAt !== null && origin.now - openedAt >= policy.stableAfter;
    const attempt = wasStable ? 1 : state.attempt + 1;
    if (attempt > policy.maxAttempts)
        return end(state, "failed", gaveUp(error, state.attempt));
    const milliseconds = backoff(attempt, origin.random, policy);
    const turn = state.turn + 1;
    const retryAt = origin.now + milliseconds;
    return [
        { ...state, status: "waiting", error, attempt, retryAt, turn, openedAt: null },
        [CLOSE, { type: "wait", turn, milliseconds }],
    ];
}
function end(state, status, error) {
    return [
        { ...state, status, error, turn: state.turn + 1, retryAt: null, openedAt: null },
        [CLOSE],
    ];
}
const failure = (code, message) => ({
    code,
    message: message || FAILURES.job_failed.message,
});
const gaveUp = ({ code, message }, attempts) => ({
    code,
    message: attempts > 0 ? `${message} Gave up after ${inWords(attempts)}.` : message,
});
const inWords = (attempts) => attempts === 1 ? "one more attempt" : `${attempts} more attempts`;
