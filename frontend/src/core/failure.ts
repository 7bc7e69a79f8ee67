/** Why a run ended, or why it is connecting again. */
export interface Failure {
  /** A code of `FAILURES`, or the one that the gateway gave, such as `upstream_timeout`. */
  readonly code: string;
  /** For the person at the browser. */
  readonly message: string;
}

const rows = {
  unreachable: "No connection could be made.",
  connection_lost: "The connection was lost.",
  refused: "The stream was refused. A browser does not tell a page why.",
  token_refused: "No token could be had: the request for it was refused.",
  token_unavailable: "No token could be had.",
  job_failed: "The job failed.",
} as const;

/** What can go wrong on this side of the gateway, and with the job itself. */
export const FAILURES = Object.fromEntries(
  Object.entries(rows).map(([code, message]) => [code, { code, message }]),
) as Readonly<Record<keyof typeof rows, Failure>>;

/**
 * The ends by the gateway after which another connection may bring more: the place that served the
 * stream went away, or the token did. The others are ends: a job that took too long, or said
 * nothing for too long, would do so again.
 */
export const RETRY_CODES: readonly string[] = ["draining", "token_expired", "upstream_closed"];
