import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** A file for the JSON report (.ci/run reads it). */
const report = process.env.VITEST_REPORT;

export default defineConfig({
  resolve: { alias: { fabra: fileURLToPath(new URL('./src/index.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**', 'node_modules/**'],
    testTimeout: 30_000,
    maxWorkers: 2,
    reporters: report ? ['default', 'json'] : ['default'],
    ...(report && { outputFile: { json: report } }),
  },
});
