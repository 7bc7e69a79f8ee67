import { defineConfig, loadEnv } from "vite";

export default defineConfig(({ mode }) => {
  // Where `gateway demo` listens. The page and the stream are then of one origin.
  const { GATEWAY_URL = "http://127.0.0.1:8080" } = loadEnv(mode, ".", "GATEWAY_");
  return {
    base: "./", // so that what is built works under any path
    build: {
      rollupOptions: {
        // Without a server, "use client" has no meaning; Vite's React plugin is silent about it too.
        onwarn: (warning, warn) => warning.code !== "MODULE_LEVEL_DIRECTIVE" && warn(warning),
      },
    },
    server: { proxy: { "/api": GATEWAY_URL, "/auth": GATEWAY_URL, "/demo": GATEWAY_URL } },
  };
});
