import { ProcessingProgress } from "gateway-progress";
import { POLICY } from "gateway-progress/core";

/** A server component that has the component on its page. The core works on the server too. */
export default function Page() {
  return (
    <>
      <h1>Progress of a job</h1>
      <ProcessingProgress endpoint="/api/v1/process/stream?steps=10&seconds=1" />
      <p>A lost connection is opened again up to {POLICY.maxAttempts} times in a row.</p>
    </>
  );
}
