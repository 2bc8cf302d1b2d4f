// Bundles src/main.tsx into the folder that is named: node build.mjs FOLDER
// Beside the files, whose names have their content's hash, stand manifest.json ({script, style}) and the licences of
// what is bundled.

import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = process.argv[2];
if (folder === undefined) throw new Error("say into which folder: node build.mjs FOLDER");

const here = fileURLToPath(new URL(".", import.meta.url));
const { metafile } = await build({
  entryPoints: [join(here, "src", "main.tsx")],
  absWorkingDir: here,
  outdir: folder,
  entryNames: "page-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none", // they stand in licences.txt
  metafile: true,
  preserveSymlinks: true, // or names of files, and so the hash, would depend on where the packages are kept
  logLevel: "warning",
});

const named = (ending) => basename(Object.keys(metafile.outputs).find((file) => file.endsWith(ending)));
const manifest = { script: named(".js"), style: named(".css") };
await writeFile(join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);

const inputs = Object.keys(metafile.inputs).map((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]);
const packages = [...new Set(inputs.filter((name) => name !== undefined))].sort();
const licences = await Promise.all(
  packages.map(async (name) => `${name}\n\n${await readFile(join(here, "node_modules", name, "LICENSE"), "utf8")}`),
);
await writeFile(join(folder, "licences.txt"), licences.join("\n\n"));
