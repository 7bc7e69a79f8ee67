import { withQuery } from "./address.js";
import { BROWSER, type Browser } from "./browser.js";
import { FAILURES, type Failure } from "./failure.js";
import { POLICY, type Policy } from "./policy.js";
import type { Progress } from "./progress.js";
import { type Action, advance, IDLE, type Signal, type State } from "./run.js";
import { type GetToken, requestToken, TokenError } from "./token.js";

export interface ClientOptions extends Partial<Policy> {
  /** By default: asks `tokenEndpoint`. */
  readonly getToken?: GetToken | undefined;
  /** Where the gateway gives one-use tokens: `/auth/stream-token`. */
  readonly tokenEndpoint?: string | undefined;
  /** The name of the token in the query: `token`. */
  readonly tokenParam?: string | undefined;
  /**
   * The name under which a later connection sends the id of the last event: `lastEventId`. It is
   * in the query only where the service gave its events ids. null: never.
   */
  readonly lastEventIdParam?: string | null | undefined;
  /** Whether cookies go to a gateway of another origin: true. */
  readonly withCredentials?: boolean | undefined;
  /** The types of event that carry reports: `["message"]`. */
  readonly eventTypes?: readonly string[] | undefined;
  readonly onComplete?: ((progress: Progress) => void) | undefined;
  readonly onError?: ((error: Failure) => void) | undefined;
  /** An event came that is no report. It is passed over. */
  readonly onMalformed?: ((text: string) => void) | undefined;
  /** All that happens, for a log. */
  readonly onSignal?: ((signal: Signal) => void) | undefined;
}

/** Watches a job: does what the state machine says, and reports the outcome to it. */
export class ProgressClient {
  #endpoint: string;
  #options: ClientOptions;
  readonly #browser: Browser;
  readonly #listeners = new Set<() => void>();
  #state = IDLE;
  #close = () => {};

  constructor(endpoint: string, options: ClientOptions = {}, browser = BROWSER) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#browser = browser;
  }

  /** The state now: a new object after each change, the same one until then. */
  readonly snapshot = (): State => this.#state;

  /** Calls back after each change, until the returned function is called. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Begins a run from the start; one that is under way is closed. */
  readonly start = (): void => this.#signal({ type: "start" });

  /** Ends the run for good. */
  readonly cancel = (): void => this.#signal({ type: "cancel" });

  /** Does not wait any longer for the next attempt. */
  readonly reconnect = (): void => this.#signal({ type: "reconnect" });

  /** Ends the run and forgets it. */
  readonly reset = (): void => this.#signal({ type: "reset" });

  /** Takes what holds from the next connection on. */
  configure(endpoint: string, options: ClientOptions): void {
    this.#endpoint = endpoint;
    this.#options = options;
  }

  #signal(signal: Signal): void {
    const before = this.#state;
    const [after, actions] = advance(before, signal, this.#policy());
    if (after === before && actions.length === 0) return;
    this.#state = after;
    for (const action of actions) this.#do(action);
    this.#options.onSignal?.(signal);
    this.#tell(before, after);
  }

  #policy(): Policy {
    const given = Object.entries(this.#options).filter(([, value]) => value !== undefined);
    return { ...POLICY, ...Object.fromEntries(given) };
  }

  #tell(before: State, after: State): void {
    if (after === before) return;
    for (const listener of [...this.#listeners]) listener();
    if (after.status === before.status) return;
    if (after.status === "completed" && after.progress) this.#options.onComplete?.(after.progress);
    if (after.status === "failed" && after.error) this.#options.onError?.(after.error);
  }

  #do(action: Action): void {
    switch (action.type) {
      case "close":
        this.#close();
        this.#close = () => {};
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

  async #getToken(turn: number): Promise<void> {
    const aborter = new AbortController();
    this.#close = () => aborter.abort();
    const { signal } = aborter;
    await null; // a run that is reset at once, as StrictMode does, asks for nothing
    if (signal.aborted) return;
    const outcome = await this.#askForToken(signal).then(
      (token) => ({ type: "token", token }) as const,
      (reason) => ({ type: "noToken", ...unavailable(reason) }) as const,
    );
    this.#signal({ ...outcome, ...this.#origin(turn) });
  }

  async #askForToken(signal: AbortSignal): Promise<string | null> {
    const { getToken, tokenEndpoint = "/auth/stream-token" } = this.#options;
    const endpoint = this.#endpoint;
    const url = new URL(endpoint, this.#browser.base());
    if (getToken) return getToken({ endpoint, url, signal });
    return requestToken(tokenEndpoint, { url, signal });
  }

  #open({ turn, token, lastEventId }: Extract<Action, { type: "open" }>): void {
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
      if ("data" in event) return; // an event that the service named so, not a failure
      const isRefused = source.readyState === CLOSED;
      this.#signal({ type: "lost", isRefused, ...this.#origin(turn) });
    });
    for (const type of eventTypes) {
      source.addEventListener(type, (event: Event) => {
        if (!("data" in event)) return;
        const { data: text, lastEventId } = event as MessageEvent<string>;
        this.#signal({ type: "message", text, lastEventId, ...this.#origin(turn) });
      });
    }
  }

  #origin(turn: number) {
    return { turn, now: this.#browser.now(), random: this.#browser.random() };
  }
}

const CLOSED = 2; // EventSource.CLOSED (HTML standard, 9.2.2)

function unavailable(reason: unknown): { error: Failure; isFinal: boolean } {
  if (!(reason instanceof TokenError)) return { error: FAILURES.token_unavailable, isFinal: false };
  const { code } = reason.isFinal ? FAILURES.token_refused : FAILURES.token_unavailable;
  return { error: { code, message: reason.message }, isFinal: reason.isFinal };
}
