import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (name: string): string => `${fileURLToPath(new URL('./src/', import.meta.url))}${name}.ts`;

/** A file for the JSON report (.ci/run reads it). */
const report = process.env.VITEST_REPORT;

export default defineConfig({
  resolve: {
    alias: [
      { find: /^fabra$/, replacement: source('index') },
      { find: /^fabra\/(client|testing)$/, replacement: source('$1') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts', 'templates/*/test/*.test.ts'],
    exclude: ['test/bench/**', 'node_modules/**'],
    testTimeout: 30_000,
    maxWorkers: 2,
    reporters: report ? ['default', 'json'] : ['default'],
    ...(report && { outputFile: { json: report } }),
  },
});
