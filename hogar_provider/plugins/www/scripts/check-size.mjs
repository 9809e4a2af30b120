// Fails the build when the bundle is larger than a page may load: 150 KB, gzipped.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const MOST = 150_000;
const file = join(process.env.HOGAR_WWW_OUT || "dist", "hogar.js");
const size = gzipSync(readFileSync(file), { level: 9 }).length;
console.log(`${file}: ${(size / 1000).toFixed(1)} KB gzipped, of at most ${MOST / 1000} KB`);
if (size > MOST) process.exit(1);
