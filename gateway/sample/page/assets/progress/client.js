import { withQuery } from "./address.js";
import { BROWSER } from "./browser.js";
import { FAILURES } from "./failure.js";
import { POLICY } from "./policy.js";
import { advance, IDLE } from "./run.js";
import { requestToken, TokenError } from "./token.js";
/** Watches a job: does what the state machine says, and reports the outcome to it. */
export class ProgressClient {
    #endpoint;
    #options;
    #browser;
    #listeners = new Set();
    #state = IDLE;
    #close = () => { };
    constructor(endpoint, options = {}, browser = BROWSER) {
        this.#endpoint = endpoint;
        this.#options = options;
        this.#browser = browser;
    }
    /** The state now: a new object after each change, the same one until then. */
    snapshot = () => this.#state;
    /** Calls back after each change, until the returned function is called. */
    subscribe = (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
    };
    /** Begins a run from the start; one that is under way is closed. */
    start = () => this.#signal({ type: "start" });
    /** Ends the run for good. */
    cancel = () => this.#signal({ type: "cancel" });
    /** Does not wait any longer for the next attempt. */
    reconnect = () => this.#signal({ type: "reconnect" });
    /** Ends the run and forgets it. */
    reset = () => this.#signal({ type: "reset" });
    /** Takes what holds from the next connection on. */
    configure(endpoint, options) {
        this.#endpoint = endpoint;
        this.#options = options;
    }
    #signal(signal) {
        const before = this.#state;
        const [after, actions] = advance(before, signal, this.#policy());
        if (after === before && actions.length === 0)
            return;
        this.#state = after;
        for (const action of actions)
            this.#do(action);
        this.#options.onSignal?.(signal);
        this.#tell(before, after);
    }
    #policy() {
        const given = Object.entries(this.#options).filter(([, value]) => value !== undefined);
        return { ...POLICY, ...Object.fromEntries(given) };
    }
    #tell(before, after) {
        if (after === before)
            return;
        for (const listener of [...this.#listeners])
            listener();
        if (after.status === before.status)
            return;
        if (after.status === "completed" && after.progress)
            this.#options.onComplete?.(after.progress);
        if (after.status === "failed" && after.error)
            this.#options.onError?.(after.error);
    }
    #do(action) {
        switch (action.type) {
            case "close":
                this.#close();
                this.#close = () => { };
                break;
            case "getToken":
                this.#getToken(action.turn);
                break;
            case "open":
                this.#open(action);
                break;
            case "wait": {
                const wake = () => this.#signal({ type: "wake", ...this.#origin(action.turn) });
                this.#close = this.#browser.wait(action.milliseconds, wake);
                break;
            }
            case "malformed":
                this.#options.onMalformed?.(action.text);
        }
    }
    async #getToken(turn) {
        const aborter = new AbortController();
        this.#close = () => aborter.abort();
        const { signal } = aborter;
        await null; // a run that is reset at once, as StrictMode does, asks for nothing
        if (signal.aborted)
            return;
        const outcome = await this.#askForToken(signal).then((token) => ({ type: "token", token }), (reason) => ({ type: "noToken", ...unavailable(reason) }));
        this.#signal({ ...outcome, ...this.#origin(turn) });
    }
    async #askForToken(signal) {
        const { getToken, tokenEndpoint = "/auth/stream-token" } = this.#options;
        const endpoint = this.#endpoint;
        const url = new URL(endpoint, this.#browser.base());
        if (getToken)
            return getToken({ endpoint, url, signal });
        return requestToken(tokenEndpoint, { url, signal });
    }
    #open({ turn, token, lastEventId }) {
        const { tokenParam = "token", lastEventIdParam = "lastEventId" } = this.#options;
        const { withCredentials = true, eventTypes = ["message"] } = this.#options;
        const id = lastEventIdParam === null ? {} : { [lastEventIdParam]: lastEventId };
        const url = withQuery(this.#endpoint, { ...id, [tokenParam]: token });
        const source = this.#browser.open(url, withCredentials);
        this.#close = () => source.close();
        source.addEventListener("open", () => {
            this.#signal({ type: "opened", ...this.#origin(turn) });
        });
        source.addEventListener("error", (event) => {
            if ("data" in event)
                return; // an event that the service named so, not a failure
            const isRefused = source.readyState === CLOSED;
            this.#signal({ type: "lost", isRefused, ...this.#origin(turn) });
        });
        for (const type of eventTypes) {
            source.addEventListener(type, (event) => {
                if (!("data" in event))
                    return;
                const { data: text, lastEventId } = event;
                this.#signal({ type: "message", text, lastEventId, ...this.#origin(turn) });
            });
        }
    }
    #origin(turn) {
        return { turn, now: this.#browser.now(), random: this.#browser.random() };
    }
}
const CLOSED = 2; // EventSource.CLOSED (HTML standard, 9.2.2)
function unavailable(reason) {
    if (!(reason instanceof TokenError))
        return { error: FAILURES.token_unavailable, isFinal: false };
    const { code } = reason.isFinal ? FAILURES.token_refused : FAILURES.token_unavailable;
    return { error: { code, message: reason.message }, isFinal: reason.isFinal };
}
