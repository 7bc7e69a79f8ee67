import { ProgressIndicator } from "gateway-progress";
import "gateway-progress/style.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./page.css";
import { getTokenFor, settingsOf } from "./settings.js";

const settings = settingsOf(new URLSearchParams(location.search));
const { endpoint, tokenEndpoint, reconnect, autoStart, maxAttempts } = settings;

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <main>
      <h1>Progress of a job</h1>
      <ProgressIndicator
        endpoint={endpoint}
        getToken={getTokenFor(settings)}
        tokenEndpoint={tokenEndpoint}
        reconnect={reconnect}
        autoStart={autoStart}
        maxAttempts={maxAttempts}
      />
    </main>
  </StrictMode>,
);
