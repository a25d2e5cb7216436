// Two documents, the dashboard and the API's page, as files that are served compressed and never in any other way.
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const folder = process.env.TOLLWAY_UI_OUT ?? join(import.meta.dirname, "../src/tollway/admin/dashboard/built");

function compress(): Plugin {
  return {
    name: "compress",
    apply: "build",
    closeBundle() {
      const assets = join(folder, "assets");
      for (const name of readdirSync(assets)) {
        const path = join(assets, name);
        const content = readFileSync(path);
        const size = { [constants.BROTLI_PARAM_SIZE_HINT]: statSync(path).size };
        writeFileSync(`${path}.br`, brotliCompressSync(content, { params: size }));
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
        rmSync(path);
      }
    },
  };
}

// Whose work is in the files: name, version and licence of every package that something of was bundled.
function licences(): Plugin {
  const packages = new Map<string, string>();
  return {
    name: "licences",
    apply: "build",
    generateBundle(_, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== "chunk") continue;
        for (const id of file.moduleIds) {
          const found = /^(.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+)[\\/]/.exec(id.replace(/^\0/, ""));
          if (found) packages.set(found[1]!, "");
        }
      }
      const texts = [...packages.keys()].filter((place) => existsSync(join(place, "package.json"))).map((place) => {
        const { name, version, license } = JSON.parse(readFileSync(join(place, "package.json"), "utf8")) as Record<string, unknown>;
        const file = readdirSync(place).find((one) => /^(licen[cs]e|copying|notice)/i.test(one));
        return `${name} ${version} (${license ?? "?"})\n\n${file ? readFileSync(join(place, file), "utf8").trim() : `See https://www.npmjs.com/package/${name}`}\n`;
      });
      this.emitFile({ type: "asset", fileName: "assets/licences.txt", source: texts.sort().join(`\n${"-".repeat(100)}\n\n`) });
    },
  };
}

export default defineConfig({
  base: "/ui/",
  plugins: [react(), licences(), compress()],
  // The gateway puts a fresh nonce in this word's place each time it serves a document.
  html: { cspNonce: "TOLLWAY-NONCE" },
  build: {
    outDir: folder,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 2000,
    rolldownOptions: { input: { index: join(import.meta.dirname, "index.html"), docs: join(import.meta.dirname, "docs.html") } },
  },
  server: {
    proxy: { "^/(?!ui/(src|node_modules|@))": process.env.TOLLWAY_URL ?? "http://127.0.0.1:4000" },
  },
});
