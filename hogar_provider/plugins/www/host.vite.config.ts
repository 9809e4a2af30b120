import { defineConfig } from "vite";

// A page that hosts the front end as Airflow does: React's globals, then the module by its address.
export default defineConfig({
  build: {
    lib: { entry: "test/host.tsx", formats: ["es"], fileName: () => "host.js" },
    outDir: "build/host",
    emptyOutDir: true,
  },
  define: { "process.env.NODE_ENV": '"production"' },
});
