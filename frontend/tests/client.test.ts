import { expect, test, vi } from "vitest";
import { type ClientOptions, ProgressClient } from "../src/core/client.js";
import { TokenError } from "../src/core/token.js";
import { FakeBrowser, gatewayError, report, settled } from "./fakeBrowser.js";

/** A client whose tokens are t1, t2, ... */
function clientOf(endpoint: string, options: ClientOptions = {}) {
  const browser = new FakeBrowser();
  let count = 0;
  const getToken = vi.fn(async () => `t${++count}`);
  const client = new ProgressClient(endpoint, { getToken, ...options }, browser);
  return { browser, getToken, client };
}

async function running(endpoint = "/stream", options: ClientOptions = {}) {
  const all = clientOf(endpoint, options);
  all.client.start();
  await settled();
  all.browser.last.opens();
  return all;
}

test("the stream is opened with the token in the query and with credentials", async () => {
  const { browser, client, getToken } = await running("stream?x=1#part");
  expect(browser.last.url).toBe("stream?x=1&token=t1#part");
  expect(browser.last.withCredentials).toBe(true);
  expect(client.snapshot().status).toBe("open");
  expect(getToken).toHaveBeenCalledWith({
    endpoint: "stream?x=1#part",
    url: new URL("https://site.example/app/stream?x=1#part"),
    signal: expect.any(AbortSignal),
  });
});

test("the names of the query and the credentials can be chosen", async () => {
  const { browser } = await running("/stream", {
    tokenParam: "key",
    lastEventIdParam: "after",
    withCredentials: false,
  });
  browser.last.sends(report(1), { id: "e/1" });
  browser.last.breaks();
  browser.passTime();
  await settled();
  expect(browser.last.url).toBe("/stream?after=e%2F1&key=t2");
  expect(browser.last.withCredentials).toBe(false);
});

test("no token in the URL where there is none to have", async () => {
  const { browser } = await running("/stream", { getToken: async () => null });
  expect(browser.last.url).toBe("/stream");
});

test("reports reach whoever subscribed, and the end is told once", async () => {
  const onComplete = vi.fn();
  const { browser, client } = await running("/stream", { onComplete });
  const seen: unknown[] = [];
  const stop = client.subscribe(() => seen.push(client.snapshot().progress?.progress));
  browser.last.sends(report(40));
  browser.last.sends(report(100, { status: "completed" }));
  expect(seen).toEqual([40, 100]);
  expect(onComplete).toHaveBeenCalledExactlyOnceWith(client.snapshot().progress);
  expect(browser.live).toEqual([]);
  stop();
  client.start();
  expect(seen).toHaveLength(2);
});

test("a lost connection is closed, then opened anew with a fresh token and the last id", async () => {
  const { browser, client } = await running();
  browser.last.sends(report(40), { id: "7" });
  browser.last.breaks();
  expect(browser.live).toEqual([]);
  expect(client.snapshot()).toMatchObject({ status: "waiting", retryAt: 1_000 });
  browser.passTime();
  await settled();
  expect(browser.last.url).toBe("/stream?lastEventId=7&token=t2");
  browser.last.opens();
  expect(client.snapshot()).toMatchObject({ status: "open", attempt: 1 });
});

test("without ids, or where it is switched off, nothing is added to the query", async () => {
  for (const [options, id] of [
    [{}, ""],
    [{ lastEventIdParam: null }, "7"],
  ] as const) {
    const { browser } = await running("/stream", options);
    browser.last.sends(report(40), { id });
    browser.last.breaks();
    browser.passTime();
    await settled();
    expect(browser.last.url).toBe("/stream?token=t2");
  }
});

test("late events of an earlier run are ignored", async () => {
  const { browser, client } = await running();
  const earlier = browser.last;
  client.start();
  await settled();
  browser.last.opens();
  browser.last.sends(report(1));
  earlier.sends(report(90));
  earlier.isRefused();
  expect(client.snapshot()).toMatchObject({ status: "open", progress: { progress: 1 } });
  expect(browser.live).toHaveLength(1);
});

test("a token that comes after the end opens nothing", async () => {
  const { browser, client } = clientOf("/stream");
  client.start();
  client.cancel();
  await settled();
  expect(browser.sources).toEqual([]);
  expect(client.snapshot().status).toBe("cancelled");
});

test("a run that is reset and started at once asks for one token", async () => {
  const { browser, client, getToken } = clientOf("/stream");
  client.start();
  client.reset();
  client.start();
  await settled();
  expect(getToken).toHaveBeenCalledOnce();
  expect(browser.sources).toHaveLength(1);
});

test("whoever asks for a token hears when it is no longer wanted", async () => {
  let signal: AbortSignal | undefined;
  const getToken: ClientOptions["getToken"] = (request) => {
    signal = request.signal;
    return new Promise(() => {});
  };
  const { client } = clientOf("/stream", { getToken });
  client.start();
  await settled();
  expect(signal?.aborted).toBe(false);
  client.cancel();
  expect(signal?.aborted).toBe(true);
});

test("a token that is refused for good ends the run with the reason", async () => {
  const onError = vi.fn();
  const getToken = () => Promise.reject(new TokenError("Sign in again.", true));
  const { client } = clientOf("/stream", { getToken, onError });
  client.start();
  await settled();
  expect(client.snapshot().status).toBe("failed");
  expect(onError).toHaveBeenCalledExactlyOnceWith({
    code: "token_refused",
    message: "Sign in again.",
  });
});

test.each([new TypeError("Failed to fetch"), new TokenError("Busy.", false)])(
  "a token that cannot be had now is asked for again: %s",
  async (reason) => {
    const getToken = vi.fn(() => Promise.reject(reason));
    const { browser, client } = clientOf("/stream", { getToken });
    client.start();
    await settled();
    expect(client.snapshot()).toMatchObject({
      status: "waiting",
      error: { code: "token_unavailable" },
    });
    browser.passTime();
    await settled();
    expect(getToken).toHaveBeenCalledTimes(2);
  },
);

test("connections that fail one after the other end in an error, never in silence", async () => {
  const { browser, client } = await running("/stream", { maxAttempts: 2 });
  browser.last.breaks();
  for (let attempt = 0; attempt < 2; attempt++) {
    browser.passTime();
    await settled();
    browser.last.breaks();
  }
  expect(client.snapshot().status).toBe("failed");
  expect(client.snapshot().error?.message).toContain("Gave up after 2 more attempts");
  expect(browser.isWaiting).toBe(false);
});

test("cancelling while it waits stops the timer", async () => {
  const { browser, client } = await running();
  browser.last.breaks();
  client.cancel();
  expect(browser.isWaiting).toBe(false);
});

test("a person who does not want to wait connects at once", async () => {
  const { browser, client } = await running();
  browser.last.breaks();
  client.reconnect();
  await settled();
  expect(browser.isWaiting).toBe(false);
  expect(browser.live).toHaveLength(1);
});

test("an event that the service calls error is no failure of the connection", async () => {
  const { browser, client } = await running("/stream", { eventTypes: ["message", "error"] });
  browser.last.sends(report(30), { type: "error" });
  expect(client.snapshot()).toMatchObject({ status: "open", progress: { progress: 30 } });
  browser.last.breaks();
  expect(client.snapshot().status).toBe("waiting");
});

test("an error of the gateway is shown with its reason", async () => {
  const { browser, client } = await running();
  browser.last.sends(gatewayError("upstream_timeout"));
  expect(client.snapshot()).toMatchObject({
    status: "failed",
    error: { code: "upstream_timeout", message: "ended: upstream_timeout" },
  });
  expect(browser.live).toEqual([]);
});

test("what is no report is passed over, and told to whoever wants to know", async () => {
  const onMalformed = vi.fn();
  const { browser, client } = await running("/stream", { onMalformed });
  browser.last.sends("<html>");
  expect(onMalformed).toHaveBeenCalledExactlyOnceWith("<html>");
  expect(client.snapshot().status).toBe("open");
});

test("an option that is given as undefined is as good as not given", async () => {
  const options = { maxAttempts: undefined, tokenParam: undefined } as unknown as ClientOptions;
  const { browser, client } = await running("/stream", options);
  expect(browser.last.url).toBe("/stream?token=t1");
  browser.last.breaks();
  expect(client.snapshot().status).toBe("waiting");
});

test("new options hold from the next connection on", async () => {
  const { browser, client, getToken } = await running();
  client.configure("/other", { getToken });
  client.start();
  await settled();
  expect(browser.last.url).toBe("/other?token=t2");
});
