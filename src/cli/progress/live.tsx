/** The moving display: two lines, drawn on stderr by ink. */
import { Box, render, Text } from 'ink';
import { clip } from '../output.ts';
import type { Reading } from './meter.ts';
import { bar, readingText } from './text.ts';

export interface View {
  title: string;
  unit: string;
  reading: Reading;
  note: string;
}

export interface Live {
  show(view: View): void;
  end(): void;
}

const BAR = 20;

function Display({ view, width }: { view: View; width: number }) {
  const { reading, title, unit, note } = view;
  const share = reading.total === null ? null : reading.total === 0 ? 1 : reading.done / reading.total;
  return (
    <Box flexDirection="column">
      <Text wrap="truncate">
        <Text bold>{title}</Text> {share === null ? '' : <Text color="cyan">{bar(share, BAR)} </Text>}
        {share === null ? '' : `${Math.floor(Math.min(1, share) * 100)}%  `}
        {readingText(reading, unit)}
      </Text>
      {note === '' ? null : <Text dimColor>{clip(note, width)}</Text>}
    </Box>
  );
}

export function openLive(stream: NodeJS.WriteStream, first: View): Live {
  const width = (): number => Math.max(20, (stream.columns ?? 80) - 1);
  const app = render(<Display view={first} width={width()} />, { stdout: stream, exitOnCtrlC: false, patchConsole: false });
  return {
    show: view => app.rerender(<Display view={view} width={width()} />),
    end() {
      app.clear();
      app.unmount();
    },
  };
}
