import type { Browser } from "../src/core/browser.js";

/** An EventSource that does what the test says, and nothing by itself. */
export class FakeSource extends EventTarget {
  readyState = 0;

  constructor(
    readonly url: string,
    readonly withCredentials: boolean,
  ) {
    super();
  }

  get isClosed(): boolean {
    return this.readyState === 2;
  }

  close(): void {
    this.readyState = 2;
  }

  opens(): void {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  sends(data: unknown, { type = "message", id = "" } = {}): void {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.dispatchEvent(new MessageEvent(type, { data: text, lastEventId: id }));
  }

  /** The connection breaks; the browser would connect again by itself. */
  breaks(): void {
    this.readyState = 0;
    this.dispatchEvent(new Event("error"));
  }

  /** The answer was no event stream; the browser gives up. */
  isRefused(): void {
    this.readyState = 2;
    this.dispatchEvent(new Event("error"));
  }
}

/** A browser whose clock, chance and streams are in the hand of the test. */
export class FakeBrowser implements Browser {
  readonly sources: FakeSource[] = [];
  readonly waits: number[] = [];
  time = 0;
  #wake: (() => void) | null = null;

  readonly open = (url: string, withCredentials: boolean): EventSource => {
    const source = new FakeSource(url, withCredentials);
    this.sources.push(source);
    return source as unknown as EventSource;
  };

  readonly wait = (milliseconds: number, callback: () => void): (() => void) => {
    this.waits.push(milliseconds);
    this.#wake = callback;
    return () => {
      this.#wake = null;
    };
  };

  readonly base = (): string => "https://site.example/app/";
  readonly now = (): number => this.time;
  readonly random = (): number => 0;

  /** Lets the wait that goes on come to its end. */
  passTime(): void {
    this.time += this.waits.at(-1) ?? 0;
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  get isWaiting(): boolean {
    return this.#wake !== null;
  }

  get live(): FakeSource[] {
    return this.sources.filter((source) => !source.isClosed);
  }

  get last(): FakeSource {
    const source = this.sources.at(-1);
    if (source === undefined) throw new Error("no stream was opened yet");
    return source;
  }
}

/** Lets everything that is only waiting for promises go on. */
export const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

export const report = (progress: number, rest: object = {}) => ({
  status: "processing",
  progress,
  message: `${progress} percent`,
  step: "fetching",
  ...rest,
});

export const gatewayError = (code: string) => ({
  status: "error",
  progress: 40,
  message: `ended: ${code}`,
  step: "gateway",
  data: { code },
});
