import { defineConfig, env } from 'fabra';

// Everything embedded, under .fabra/. `fabra doctor` shows each value and where it came from.
export default defineConfig({
  online: env('FABRA_ONLINE_URL', 'embedded'),
  offline: env('FABRA_OFFLINE_URL', 'file:.fabra/offline'),
  bus: env('FABRA_BUS_URL', 'embedded'),
});
