// @vitest-environment jsdom

import { act, cleanup, renderHook } from "@testing-library/react";
import { StrictMode } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type SSEProgressOptions, useSSEProgress } from "../src/index.js";
import { FakeSource, report, settled } from "./fakeBrowser.js";

let sources: FakeSource[] = [];
const live = () => sources.filter((source) => !source.isClosed);
const last = () => sources.at(-1) as FakeSource;
const getToken = vi.fn(async () => "t");

beforeEach(() => {
  sources = [];
  getToken.mockClear();
  class KeptSource extends FakeSource {
    constructor(url: string, init: EventSourceInit) {
      super(url, init.withCredentials ?? false);
      sources.push(this);
    }
  }
  vi.stubGlobal("EventSource", KeptSource);
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

function show(options: SSEProgressOptions = {}, endpoint = "/stream") {
  const use = ({ endpoint, options }: { endpoint: string; options: SSEProgressOptions }) =>
    useSSEProgress(endpoint, { getToken, ...options });
  return renderHook(use, { initialProps: { endpoint, options }, wrapper: StrictMode });
}

const untilSettled = () => act(settled);

test("nothing is asked for before it is started", async () => {
  const { result } = show();
  await untilSettled();
  expect(getToken).not.toHaveBeenCalled();
  expect(result.current).toMatchObject({
    progress: null,
    isConnected: false,
    status: "idle",
    error: null,
    attempt: 0,
  });
});

test("a run goes from start to the end", async () => {
  const onComplete = vi.fn();
  const { result } = show({ onComplete });
  act(() => result.current.start());
  await untilSettled();
  act(() => last().opens());
  expect(result.current.isConnected).toBe(true);
  act(() => last().sends(report(40)));
  expect(result.current.progress?.progress).toBe(40);
  act(() => last().sends(report(100, { status: "completed" })));
  expect(result.current).toMatchObject({ status: "completed", isConnected: false });
  expect(onComplete).toHaveBeenCalledOnce();
  expect(live()).toEqual([]);
});

test("StrictMode's double mount starts one run and opens one stream", async () => {
  show({ autoStart: true });
  await untilSettled();
  expect(getToken).toHaveBeenCalledOnce();
  expect(sources).toHaveLength(1);
});

test("unmounting closes the stream", async () => {
  const { unmount } = show({ autoStart: true });
  await untilSettled();
  unmount();
  expect(live()).toEqual([]);
});

test("another endpoint drops the run of the old one", async () => {
  const { result, rerender } = show();
  act(() => result.current.start());
  await untilSettled();
  act(() => last().sends(report(40)));
  rerender({ endpoint: "/other", options: {} });
  await untilSettled();
  expect(live()).toEqual([]);
  expect(result.current).toMatchObject({ status: "idle", progress: null });
});

test("another endpoint starts a run of its own where runs start by themselves", async () => {
  const { rerender } = show({ autoStart: true });
  await untilSettled();
  rerender({ endpoint: "/other", options: { autoStart: true } });
  await untilSettled();
  expect(live().map(({ url }) => url)).toEqual(["/other?token=t"]);
});

test("a new render alone changes nothing about the run, and its callbacks are the latest", async () => {
  const [first, second] = [vi.fn(), vi.fn()];
  const { rerender } = show({ autoStart: true, onComplete: first });
  await untilSettled();
  rerender({ endpoint: "/stream", options: { autoStart: true, onComplete: second } });
  act(() => last().sends(report(100, { status: "completed" })));
  expect(sources).toHaveLength(1);
  expect(first).not.toHaveBeenCalled();
  expect(second).toHaveBeenCalledOnce();
});

test("cancel and reconnect do what they say", async () => {
  const { result } = show();
  act(() => result.current.start());
  await untilSettled();
  act(() => last().opens());
  act(() => last().breaks());
  expect(result.current.status).toBe("waiting");
  expect(result.current.retryAt).toBeGreaterThan(Date.now());
  act(() => result.current.reconnect());
  await untilSettled();
  expect(result.current).toMatchObject({ status: "connecting", attempt: 1 });
  act(() => result.current.cancel());
  expect(result.current.status).toBe("cancelled");
  expect(live()).toEqual([]);
});
