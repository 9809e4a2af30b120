import { defineConfig } from "vite";

// One ES module with everything in it: the host imports it by its address, and shares no library.
export default defineConfig({
  build: {
    lib: { entry: "src/main.ts", formats: ["es"], fileName: () => "hogar.js" },
    outDir: process.env.HOGAR_WWW_OUT || "dist",
    emptyOutDir: true,
    target: "es2022",
    minify: "esbuild",
    reportCompressedSize: false,
  },
  define: { "process.env.NODE_ENV": '"production"' },
});
