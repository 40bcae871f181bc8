#!/usr/bin/env node
import { existsSync } from 'node:fs';

const entry = new URL('../dist/cli/main.js', import.meta.url);
if (existsSync(entry)) {
  const { start } = await import(entry.href);
  await start();
} else {
  process.stderr.write('error: fabra is not built yet; run "make setup" in its folder\n');
  process.exitCode = 3;
}
