/** The screen of `fabra dev`: fits 80x24, reads without colour. */
import { Box, render, Text } from 'ink';
import { iso } from '../../lib/time.ts';
import type { Counters } from '../../ports/online-store.ts';
import { clip, grouped } from '../output.ts';

export interface DevView {
  project: string;
  url: string;
  features: number;
  counters: Counters;
  /** Null without handlers. */
  handlers: { handled: number; retried: number; dead: number } | null;
  rate: number;
  lag: number;
  maxTs: number | null;
  dead: number;
  notes: { text: string; bad: boolean }[];
}

const ROWS = 10;
const SHOWN = ['read', 'applied', 'late', 'duplicate', 'quarantined', 'rejected', 'ignored'] as const;

function Screen({ view, width }: { view: DevView; width: number }) {
  const { counters } = view;
  return (
    <Box flexDirection="column">
      <Text wrap="truncate">
        <Text bold>fabra dev</Text> {clip(view.project, width - 10)}
      </Text>
      <Text wrap="truncate">
        {view.url} {view.features} features, Ctrl-C stops
      </Text>
      <Text> </Text>
      <Text wrap="truncate">
        {grouped(Math.round(view.rate))} events/s behind {grouped(view.lag)} newest {view.maxTs === null ? '-' : iso(view.maxTs)}
      </Text>
      <Text wrap="truncate">{SHOWN.map(k => `${k} ${grouped(counters[k])}`).join('  ')}</Text>
      {view.handlers && (
        <Text wrap="truncate">{`handlers: ${grouped(view.handlers.handled)} done  ${grouped(view.handlers.retried)} tried again  ${grouped(view.handlers.dead)} given up`}</Text>
      )}
      <Text wrap="truncate">dead letters {grouped(view.dead)}</Text>
      <Text> </Text>
      {view.notes.slice(-ROWS).map((n, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines of a log have no other name.
        <Text key={i} wrap="truncate" color={n.bad ? 'red' : undefined} dimColor={!n.bad}>
          {n.bad ? '! ' : '  '}
          {n.text}
        </Text>
      ))}
    </Box>
  );
}

export function openDevScreen(stream: NodeJS.WriteStream, first: DevView): { show(view: DevView): void; end(): void } {
  const width = (): number => Math.max(40, (stream.columns ?? 80) - 1);
  const app = render(<Screen view={first} width={width()} />, { stdout: stream, exitOnCtrlC: false, patchConsole: false });
  return {
    show: view => app.rerender(<Screen view={view} width={width()} />),
    end: () => app.unmount(),
  };
}
