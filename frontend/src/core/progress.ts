/** One report of a job: the data of one server-sent event, as JSON. */
export interface Progress {
  readonly status: "processing" | "completed" | "error";
  /** Percent, 0 to 100. */
  readonly progress: number;
  readonly message: string;
  readonly step: string;
  /** The result, which comes with the last report. */
  readonly data?: unknown;
}

const STATUSES: readonly unknown[] = ["processing", "completed", "error"];

/**
 * Reads a report; null where it is none: not JSON, not an object, or of a status unknown here.
 * What is missing or of a wrong type in a report is filled in: `last` is the percent so far.
 */
export function parseProgress(text: string, last = 0): Progress | null {
  const report = parseObject(text);
  if (report === null || !STATUSES.includes(report.status)) return null;
  const status = report.status as Progress["status"];
  return {
    status,
    progress: status === "completed" ? 100 : percent(report.progress, last),
    message: string(report.message),
    step: string(report.step),
    ...(report.data == null ? {} : { data: report.data }),
  };
}

/** The code that the gateway gives in `data` where it was the gateway that ended the stream. */
export function gatewayCode({ status, step, data }: Progress): string | null {
  if (status !== "error" || step !== "gateway" || !isObject(data)) return null;
  return typeof data.code === "string" ? data.code : null;
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const percent = (value: unknown, last: number): number =>
  typeof value === "number" ? Math.min(Math.max(value, 0), 100) : last;

const string = (value: unknown): string => (typeof value === "string" ? value : "");
