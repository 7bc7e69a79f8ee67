"use client";

import { useEffect, useState, useSyncExternalStore } from "react";
import { type ClientOptions, ProgressClient } from "./core/client.js";
import type { Failure } from "./core/failure.js";
import type { Progress } from "./core/progress.js";
import type { Status } from "./core/run.js";

export interface SSEProgressOptions extends ClientOptions {
  /** Begin as soon as the component is on the page, and anew when the endpoint changes. */
  readonly autoStart?: boolean | undefined;
}

export interface SSEProgress {
  /** The last report; null before the first. */
  readonly progress: Progress | null;
  readonly isConnected: boolean;
  readonly status: Status;
  /** Why the run failed, or, while it is connecting again, why it has to. */
  readonly error: Failure | null;
  /** How many times in a row the run has connected again. */
  readonly attempt: number;
  /** When the next attempt is due, in milliseconds since 1970; only while waiting. */
  readonly retryAt: number | null;
  /** Begins a run from the start. */
  readonly start: () => void;
  readonly cancel: () => void;
  /** Connects now instead of at `retryAt`. */
  readonly reconnect: () => void;
}

/**
 * Watches the job at an endpoint. Nothing is asked for before `start`, or `autoStart`. The stream
 * is closed when the component goes; when the endpoint changes, the run of the old one is dropped.
 */
export function useSSEProgress(endpoint: string, options: SSEProgressOptions = {}): SSEProgress {
  const [client] = useState(() => new ProgressClient(endpoint, options));
  const state = useSyncExternalStore(client.subscribe, client.snapshot, client.snapshot);
  const { autoStart = false } = options;

  useEffect(() => client.configure(endpoint, options));
  // biome-ignore lint/correctness/useExhaustiveDependencies: a run belongs to its endpoint
  useEffect(() => {
    if (autoStart) client.start();
    return client.reset;
  }, [client, endpoint, autoStart]);

  const { status, progress, error, attempt, retryAt } = state;
  const { start, cancel, reconnect } = client;
  const isConnected = status === "open";
  return { progress, isConnected, status, error, attempt, retryAt, start, cancel, reconnect };
}
