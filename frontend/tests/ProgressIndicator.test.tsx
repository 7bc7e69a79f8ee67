// @vitest-environment jsdom

import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ProgressIndicator, type ProgressIndicatorProps, TokenError } from "../src/index.js";
import { FakeSource, gatewayError, report, settled } from "./fakeBrowser.js";

let last: FakeSource;

beforeEach(() => {
  class KeptSource extends FakeSource {
    constructor(url: string, init: EventSourceInit) {
      super(url, init.withCredentials ?? false);
      last = this;
    }
  }
  vi.stubGlobal("EventSource", KeptSource);
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const show = (props: Partial<ProgressIndicatorProps> = {}) =>
  render(<ProgressIndicator endpoint="/stream" getToken={async () => "t"} {...props} />);

const bar = () => screen.getByRole("progressbar", { name: "Progress" });
const percent = () => bar().getAttribute("aria-valuenow");
const step = () => screen.getByRole("status").textContent;
const press = (name: string) => fireEvent.click(screen.getByRole("button", { name }));

async function start(name = "Start"): Promise<void> {
  press(name);
  await act(settled);
}

test("it begins with a button and an empty bar", () => {
  const { container } = show({ className: "mine" });
  expect(percent()).toBe("0");
  expect(step()).toBe("Not started");
  expect(container.firstElementChild?.className).toBe("gateway-progress mine");
});

test("while it connects, how far the job is cannot be told", async () => {
  show();
  await start();
  expect(percent()).toBeNull();
  expect(screen.queryByText(/%/)).toBeNull();
  expect(step()).toBe("Connecting");
});

test("a report shows in the bar, the step and the message", async () => {
  show();
  await start();
  act(() => last.opens());
  act(() => last.sends(report(40.9)));
  expect(percent()).toBe("40");
  expect(screen.getByText("40 %")).toBeTruthy();
  expect(step()).toBe("fetching");
  expect(screen.getByText("40.9 percent")).toBeTruthy();
});

test("the end shows 100 percent and offers to start again", async () => {
  show();
  await start();
  act(() => last.opens());
  act(() => last.sends(report(100, { status: "completed" })));
  expect(percent()).toBe("100");
  expect(step()).toBe("Completed");
  await start("Start again");
  expect(step()).toBe("Connecting");
});

test("a failure is read out with its reason, and can be tried again", async () => {
  show();
  await start();
  act(() => last.opens());
  act(() => last.sends(gatewayError("upstream_timeout")));
  expect(screen.getByRole("alert").textContent).toBe("ended: upstream_timeout");
  expect(step()).toBe("Failed");
  await start("Try again");
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a refused token is a failure like any other", async () => {
  show({ getToken: () => Promise.reject(new TokenError("Sign in again.", true)) });
  await start();
  expect(screen.getByRole("alert").textContent).toBe("Sign in again.");
});

test("a lost connection shows how far the job came and when the next attempt is due", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "Date"] });
  try {
    show({ minDelay: 3_000, maxDelay: 3_000 });
    await start();
    act(() => last.opens());
    act(() => last.sends(report(40)));
    act(() => last.breaks());
    expect(percent()).toBe("40");
    expect(step()).toBe("Reconnecting");
    const lost = "The connection was lost. Attempt 1 in";
    const { textContent } = screen.getByText(/connection was lost/);
    expect(textContent).toBe(`${lost} 3 s.`);
    act(() => vi.advanceTimersByTime(1_000));
    expect(screen.getByText(/connection was lost/).textContent).toBe(`${lost} 2 s.`);
  } finally {
    vi.useRealTimers();
  }
});

test("a person need not wait for the next attempt", async () => {
  show();
  await start();
  act(() => last.opens());
  act(() => last.breaks());
  const lost = last;
  await start("Connect now");
  expect(last).not.toBe(lost);
  expect(screen.queryByRole("button", { name: "Connect now" })).toBeNull();
});

test("the button keeps the focus from start to end, and a double click cancels nothing", async () => {
  show();
  const button = screen.getByRole("button");
  button.focus();
  fireEvent.click(button, { detail: 1 });
  fireEvent.click(button, { detail: 2 });
  await act(settled);
  expect(step()).toBe("Connecting");
  expect(document.activeElement).toBe(button);
  fireEvent.click(button, { detail: 1 });
  expect(step()).toBe("Cancelled");
  expect(document.activeElement).toBe(button);
});

test("every word can be another one", () => {
  show({ labels: { start: "Los", idle: "Bereit", progress: "Fortschritt" } });
  expect(screen.getByRole("button", { name: "Los" })).toBeTruthy();
  expect(screen.getByRole("progressbar", { name: "Fortschritt" })).toBeTruthy();
  expect(step()).toBe("Bereit");
});
