/** What the client uses of the browser. Tests give it another one. */
export interface Browser {
  readonly open: (url: string, withCredentials: boolean) => EventSource;
  /** Calls back after so many milliseconds, once, unless the returned function is called first. */
  readonly wait: (milliseconds: number, callback: () => void) => () => void;
  /** The address that a relative one is relative to. */
  readonly base: () => string;
  readonly now: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
}

export const BROWSER: Browser = {
  open: (url, withCredentials) => new EventSource(url, { withCredentials }),
  wait,
  base: () => document.baseURI,
  now: () => Date.now(),
  random: Math.random,
};

/** A network that comes back cuts the wait short. */
function wait(milliseconds: number, callback: () => void): () => void {
  const finish = () => {
    stop();
    callback();
  };
  const timer = setTimeout(finish, milliseconds);
  const stop = () => {
    clearTimeout(timer);
    removeEventListener("online", finish);
  };
  addEventListener("online", finish);
  return stop;
}
