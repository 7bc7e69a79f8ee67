"use client";

import { useSSEProgress } from "gateway-progress";

/** A page with looks of its own. */
export default function Page() {
  const { progress, status, error, start } = useSSEProgress(
    "/api/v1/process/stream?steps=4&seconds=0.4",
  );
  return (
    <>
      <button type="button" onClick={start}>
        Start
      </button>
      <output data-status={status}>
        {error?.message ?? `${progress?.progress ?? 0} % ${progress?.message ?? ""}`}
      </output>
    </>
  );
}
