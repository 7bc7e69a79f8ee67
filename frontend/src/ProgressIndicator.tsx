"use client";

import { type CSSProperties, type MouseEvent, useId } from "react";
import { isRunning } from "./core/run.js";
import { useSecondsUntil } from "./useSecondsUntil.js";
import { type SSEProgress, type SSEProgressOptions, useSSEProgress } from "./useSSEProgress.js";

/** All words of the component, for other languages. */
export interface Labels {
  readonly progress: string;
  readonly start: string;
  readonly startAgain: string;
  readonly retry: string;
  readonly cancel: string;
  readonly connectNow: string;
  readonly idle: string;
  readonly connecting: string;
  readonly running: string;
  readonly reconnecting: string;
  readonly completed: string;
  readonly failed: string;
  readonly cancelled: string;
  readonly nextAttempt: (attempt: number, seconds: number) => string;
}

const LABELS: Labels = {
  progress: "Progress",
  start: "Start",
  startAgain: "Start again",
  retry: "Try again",
  cancel: "Cancel",
  connectNow: "Connect now",
  idle: "Not started",
  connecting: "Connecting",
  running: "Running",
  reconnecting: "Reconnecting",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
  nextAttempt: (attempt, seconds) => `Attempt ${attempt} in ${seconds} s.`,
};

export interface ProgressIndicatorProps extends SSEProgressOptions {
  readonly endpoint: string;
  readonly className?: string | undefined;
  readonly labels?: Partial<Labels> | undefined;
}

/** A button, a bar and a line of text for the job at an endpoint. Looks come from `style.css`. */
export function ProgressIndicator(props: ProgressIndicatorProps) {
  const { endpoint, className = "", labels: given, ...options } = props;
  const run = useSSEProgress(endpoint, options);
  const labels = { ...LABELS, ...given };
  const stepId = useId();
  const percent = Math.floor(run.progress?.progress ?? 0);
  const isUnknown = isRunning(run) && run.progress === null;
  const style = { "--gateway-progress": percent / 100 } as CSSProperties;
  return (
    <div className={`gateway-progress ${className}`.trim()} data-status={run.status} style={style}>
      <div className="gateway-progress-head">
        <span className="gateway-progress-step" id={stepId} role="status">
          {stepOf(run, labels)}
        </span>
        <span className="gateway-progress-percent" aria-hidden="true">
          {isUnknown ? "" : `${percent} %`}
        </span>
      </div>
      <div
        className="gateway-progress-track"
        role="progressbar"
        aria-label={labels.progress}
        aria-describedby={stepId}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={isUnknown ? undefined : percent}
      >
        <div className="gateway-progress-bar" />
      </div>
      <Message run={run} labels={labels} />
      <Buttons run={run} labels={labels} />
    </div>
  );
}

interface PartProps {
  readonly run: SSEProgress;
  readonly labels: Labels;
}

/** What is read out is the step above and a failure; each single report would be noise. */
function Message({ run, labels }: PartProps) {
  const seconds = useSecondsUntil(run.retryAt);
  const { error, progress, status, attempt } = run;
  const text = error?.message ?? progress?.message ?? "";
  return (
    <p className="gateway-progress-message" role={status === "failed" ? "alert" : undefined}>
      {text}
      {status === "waiting" && (
        <span className="gateway-progress-countdown"> {labels.nextAttempt(attempt, seconds)}</span>
      )}
    </p>
  );
}

/** The first button stays the same one in all states, so that it never takes the focus away. */
function Buttons({ run, labels }: PartProps) {
  const act = isRunning(run) ? run.cancel : run.start;
  // The second click of a double click on Start must not cancel what the first one began.
  const onClick = (event: MouseEvent) => event.detail < 2 && act();
  return (
    <div className="gateway-progress-buttons">
      <button type="button" className="gateway-progress-button" onClick={onClick}>
        {buttonOf(run, labels)}
      </button>
      {run.status === "waiting" && (
        <button type="button" className="gateway-progress-now" onClick={run.reconnect}>
          {labels.connectNow}
        </button>
      )}
    </div>
  );
}

function stepOf({ status, attempt, progress }: SSEProgress, labels: Labels): string {
  switch (status) {
    case "open":
      return progress?.step || labels.running;
    case "waiting":
      return labels.reconnecting;
    case "connecting":
      return attempt > 0 ? labels.reconnecting : labels.connecting;
    default:
      return labels[status];
  }
}

function buttonOf(run: SSEProgress, labels: Labels): string {
  if (isRunning(run)) return labels.cancel;
  if (run.status === "idle") return labels.start;
  return run.status === "failed" ? labels.retry : labels.startAgain;
}
