import type { NextConfig } from "next";

const config: NextConfig = {
  // Next looks for lock files to find the root, also above this folder.
  turbopack: { root: import.meta.dirname },
};

export default config;
