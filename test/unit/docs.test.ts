/** The documentation against the program: its definitions compile, its command lines parse, its links lead somewhere. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import ts from 'typescript';
import { afterAll, describe, expect, it } from 'vitest';
import { resolveConfig } from '../../src/config/resolve.ts';
import { COMMON, EVERYWHERE, flagName } from '../../src/cli/options.ts';
import { buildProgram, parseFlags } from '../../src/cli/program.ts';
import { COMMANDS, GROUPS } from '../../src/cli/table.ts';
import { FabraError } from '../../src/lib/errors.ts';
import { compileProject } from '../../src/registry/compile.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const inFolder = (dir: string): string[] =>
  readdirSync(path.join(ROOT, dir))
    .filter(name => name.endsWith('.md'))
    .map(name => `${dir}/${name}`);
const README = 'README.md';
const DOCS = [README, ...inFolder('docs')];
const GUIDES = [...DOCS, ...readdirSync(path.join(ROOT, 'templates')).map(t => `templates/${t}/README.md`)].filter(f => existsSync(path.join(ROOT, f)));
const LINKED = [...GUIDES, ...inFolder('docs/decisions')];

const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8');

interface Block {
  /** `docs/definitions.md:12`, of its first line. */
  at: string;
  /** Word behind the fence; empty for an indented block. */
  kind: string;
  lines: string[];
}

/** Fenced and indented code, and the text around it with the code taken out. */
function parts(file: string, markdown = read(file)): { blocks: Block[]; prose: { at: string; text: string }[] } {
  const blocks: Block[] = [];
  const prose: { at: string; text: string }[] = [];
  let fence: Block | null = null;
  let indented: Block | null = null;
  markdown.split('\n').forEach((line, i) => {
    const at = `${file}:${i + 1}`;
    const mark = /^```(\w*)/.exec(line);
    if (fence) {
      if (mark) fence = null;
      else fence.lines.push(line);
    } else if (mark) blocks.push((fence = { at: `${file}:${i + 2}`, kind: mark[1] ?? '', lines: [] }));
    else if (line.startsWith('    ')) {
      if (!indented) blocks.push((indented = { at, kind: '', lines: [] }));
      indented.lines.push(line.slice(4));
    } else {
      indented = null;
      prose.push({ at, text: line });
    }
  });
  return { blocks, prose };
}

const dirs: string[] = [];
afterAll(() => {
  for (const d of dirs) rmSync(d, { recursive: true, force: true });
});
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'fabra-docs-'));
  dirs.push(dir);
  return dir;
}

describe('definitions', () => {
  const values = [...read('src/index.ts').matchAll(/^export \{([^}]+)\}/gm)]
    .flatMap(m => m[1]!.split(','))
    .map(n => n.trim())
    .filter(n => n !== '' && !n.startsWith('type ') && n !== 'FabraError');
  const HEAD = `import { ${values.join(', ')} } from 'fabra';\nimport { z } from 'zod';`;

  /**
   * Blocks of a page in order; one that begins with an import begins another file, and so does one that begins with its name
   * (`// score.ts`): such files may import each other, and only `features.ts` is compiled.
   */
  function modules(file: string): { at: string; text: string; name: string | null }[] {
    const out: { at: string; text: string; name: string | null }[] = [];
    const page = path.basename(file, '.md');
    for (const b of parts(file).blocks.filter(b => b.kind === 'ts')) {
      const text = b.lines.join('\n').replaceAll(/from '\.\/([\w.-]+)\.ts'/g, `from './docs.${page}.$1.generated.ts'`);
      const name = /^\/\/ ([\w.-]+\.ts)$/.exec(b.lines[0]!)?.[1];
      const known = name === undefined ? undefined : out.find(m => m.name === name);
      if (known) known.text += `\n${text}`;
      else if (name !== undefined) out.push({ at: b.at, text, name });
      else if (/^import\b/.test(text)) out.push({ at: b.at, text, name: null });
      else if (out.length === 0) out.push({ at: b.at, text: `${HEAD}\n${text}`, name: null });
      else out[out.length - 1]!.text += `\n${text}`;
    }
    return out;
  }
  const all = DOCS.flatMap(modules);

  it('there are some', () => {
    expect(all.some(m => m.at.startsWith('docs/definitions.md'))).toBe(true);
    expect(all.some(m => m.at.startsWith(README))).toBe(true);
  });

  it('pass the type checker', () => {
    const { config } = ts.readConfigFile(path.join(ROOT, 'tsconfig.json'), f => ts.sys.readFile(f)) as { config: { compilerOptions: object } };
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, ROOT);
    const host = ts.createCompilerHost(options);
    // Not on disk, but beside the sources, where 'zod' is found.
    const texts = new Map(
      all.map((m, i) => [path.join(ROOT, `test/types/docs.${m.name ? `${path.basename(m.at.split(':')[0]!, '.md')}.${m.name.slice(0, -3)}` : i}.generated.ts`), m]),
    );
    const { getSourceFile, fileExists } = host;
    host.fileExists = name => texts.has(name) || fileExists(name);
    host.getSourceFile = (name, target) => (texts.has(name) ? ts.createSourceFile(name, texts.get(name)!.text, target) : getSourceFile(name, target));
    const program = ts.createProgram([...texts.keys()], { ...options, noEmit: true, incremental: false }, host);
    const errors = [...texts].flatMap(([name, m]) =>
      ts.getPreEmitDiagnostics(program, program.getSourceFile(name)).map(d => {
        const line = m.text.slice(0, d.start).split('\n').at(-1)! + m.text.slice(d.start).split('\n')[0]!;
        return `${m.at}: ${ts.flattenDiagnosticMessageText(d.messageText, '\n')} in: ${line}`;
      }),
    );
    expect(errors).toEqual([]);
  });

  it('compile as features.ts, or are read as fabra.config.ts', async () => {
    for (const { at, text, name } of all) {
      // Programs run elsewhere: test/e2e/recipes.test.ts.
      if (name !== null && name !== 'features.ts') continue;
      const dir = newDir();
      if (text.includes('defineConfig(')) {
        writeFileSync(path.join(dir, 'fabra.config.ts'), text);
        expect((await resolveConfig({ dir, env: {} })).origins.offline, at).toBe('fabra.config.ts');
        continue;
      }
      mkdirSync(path.join(dir, 'project'));
      const file = path.join(dir, 'project', 'features.ts');
      writeFileSync(file, text);
      const { registry } = await compileProject(file).catch((e: FabraError) => {
        throw new Error(`${at}: ${JSON.stringify(e.problems ?? e.message, null, 1)}`);
      });
      expect(Object.keys(registry.features).length, at).toBeGreaterThan(0);
    }
  });

  it('say all that can be imported', () => {
    const page = ['definitions', 'commands', 'embedding', 'recipes', 'testing'].map(p => read(`docs/${p}.md`)).join('');
    expect(values.length).toBeGreaterThan(20);
    expect(values.filter(n => !new RegExp(`\\b${n}\\b`).test(page))).toEqual([]);
  });
});

/** A command line as the shell would cut it; ends at a pipe, a redirection, `&&`, `;` or a comment. */
function words(line: string): string[][] {
  const commands: string[][] = [[]];
  let done = false;
  for (const m of line.matchAll(/\s*(?:(&&|;)|(#.*|[|<>].*)|((?:'[^']*'|"[^"]*"|[^\s'"|&;<>]+)+))/g)) {
    if (m[1]) commands.push([]);
    else if (m[2]) done = true;
    else if (!done) commands[commands.length - 1]!.push(m[3]!.replace(/'([^']*)'|"([^"]*)"/g, (_, a?: string, b?: string) => a ?? b ?? ''));
    if (done) break;
  }
  return commands.filter(c => c.length > 0);
}

/** `npx fabra …`, `$ fabra …` and plain ones, without the program's name. */
function ours(command: string[]): string[] | null {
  const at = command.findIndex(w => w !== '$' && w !== 'npx');
  return command[at] === 'fabra' ? command.slice(at + 1) : null;
}

interface Line {
  at: string;
  argv: string[];
  /** In running text: a command may be named without its arguments. */
  inline: boolean;
}

function commandLines(file: string): Line[] {
  const { blocks, prose } = parts(file);
  const out: Line[] = [];
  const add = (at: string, text: string, inline: boolean): void => {
    for (const c of words(text)) {
      const argv = ours(c);
      if (argv) out.push({ at: `${at}: ${text.trim()}`, argv, inline });
    }
  };
  for (const b of blocks) if (['', 'sh', 'bash', 'console', 'text'].includes(b.kind)) for (const line of b.lines) add(b.at, line, false);
  for (const { at, text } of prose) for (const m of text.matchAll(/`([^`]+)`/g)) add(at, m[1]!, true);
  return out;
}

async function problem({ argv, inline }: Line): Promise<string | null> {
  const name = COMMANDS.find(c => c.name === argv.slice(0, 2).join(' ')) ?? COMMANDS.find(c => c.name === argv[0]);
  if (inline && name && argv.length === name.name.split(' ').length) return null;
  if (inline && argv.length === 1 && argv[0]! in GROUPS) return null;
  try {
    const chosen = await buildProgram(COMMANDS, GROUPS, '0', () => {}).parse(argv);
    if (chosen) await parseFlags(chosen);
    return null;
  } catch (e) {
    if (!(e instanceof FabraError)) throw e;
    // `fabra get user` in a sentence.
    if (inline && /missing required argument/.test(e.message)) return null;
    // A placeholder where a value would be: `--as-of TIME`.
    if (inline && argv.some((w, i) => argv[i - 1]?.startsWith('--') && /^[A-Z]+$/.test(w))) return null;
    return e.message;
  }
}

describe('command lines', () => {
  it('parse against the command table', async () => {
    const wrong: string[] = [];
    let seen = 0;
    for (const line of GUIDES.flatMap(commandLines)) {
      seen++;
      const found = await problem(line);
      if (found) wrong.push(`${line.at}: ${found}`);
    }
    expect(wrong).toEqual([]);
    expect(seen).toBeGreaterThan(80);
  });

  it('so do the examples of --help', async () => {
    const wrong: string[] = [];
    for (const c of COMMANDS)
      for (const e of c.examples)
        for (const w of words(e)) {
          const found = await problem({ at: e, argv: ours(w) ?? ['?'], inline: false });
          if (found) wrong.push(`${e}: ${found}`);
        }
    expect(wrong).toEqual([]);
  });

  it('mistakes in them are seen', async () => {
    const check = (text: string) => problem({ at: text, argv: ours(words(text)[0]!)!, inline: false });
    expect(await check('fabra replay data/events.csv.gz --esp 500')).toMatch(/unknown option/);
    expect(await check('npx fabra nope')).toMatch(/unknown command/);
    expect(await check('fabra get user')).toMatch(/missing required argument/);
    expect(await check('fabra replay x --eps many')).toMatch(/needs a number/);
    expect(await check(`fabra publish page_view '{"user_id": "u 1"}' # comment`)).toBeNull();
  });

  it('every flag that is mentioned exists', () => {
    const known = new Set([...EVERYWHERE, ...Object.values(COMMON), ...COMMANDS.flatMap(c => c.options ?? [])].map(o => flagName(o.flags)).concat('--help', '--version'));
    const wrong = GUIDES.flatMap(f =>
      parts(f).prose.flatMap(({ at, text }) => [...text.matchAll(/`(--[a-z][\w-]*)[^`]*`/g)].filter(m => !known.has(m[1]!)).map(m => `${at}: ${m[1]}`)),
    );
    expect(wrong).toEqual([]);
  });

  it('docs/commands.md has every command, with all its flags', () => {
    const page = read('docs/commands.md');
    const common = page.slice(0, page.indexOf('\n## Start and define'));
    const missing: string[] = [];
    for (const c of COMMANDS) {
      const section = new RegExp(`\\n(#+) fabra ${c.name}\\n([\\s\\S]*?)(?=\\n#{1,3} fabra |$)`).exec(page)?.[2];
      if (section === undefined) missing.push(c.name);
      else for (const o of c.options ?? []) if (!new RegExp(`${flagName(o.flags)}\\b`).test(section)) missing.push(`${c.name} ${flagName(o.flags)}`);
    }
    for (const o of [...EVERYWHERE, ...Object.values(COMMON)]) if (!common.includes(flagName(o.flags))) missing.push(flagName(o.flags));
    expect(missing).toEqual([]);
  });

  it('answers that are shown are JSON', () => {
    for (const f of DOCS) for (const b of parts(f).blocks.filter(b => b.kind === 'json')) expect(() => JSON.parse(b.lines.join('\n')), b.at).not.toThrow();
  });
});

describe('links', () => {
  /** As GitHub makes them. */
  const anchors = (file: string): Set<string> =>
    new Set(
      parts(file)
        .prose.map(p => /^#+ (.+)$/.exec(p.text)?.[1])
        .filter(h => h !== undefined)
        .map(h =>
          h
            .toLowerCase()
            .replace(/[^\p{L}\p{N} _-]/gu, '')
            .replace(/ /g, '-'),
        ),
    );

  it('lead to files, and to headings in them', () => {
    const broken: string[] = [];
    let seen = 0;
    for (const file of LINKED)
      for (const { at, text } of parts(file).prose)
        for (const m of text.matchAll(/\]\(([^)\s]+)\)/g)) {
          const [target = '', anchor] = m[1]!.split('#');
          if (/^[a-z]+:/.test(target)) continue;
          seen++;
          const to = target === '' ? file : path.posix.normalize(path.posix.join(path.posix.dirname(file), target));
          if (!existsSync(path.join(ROOT, to))) {
            broken.push(`${at}: ${m[1]}`);
          } else if (anchor !== undefined && !anchors(to).has(anchor)) broken.push(`${at}: ${m[1]}`);
        }
    expect(broken).toEqual([]);
    expect(seen).toBeGreaterThan(20);
  });

  it('files named in brackets exist', () => {
    const wrong = DOCS.flatMap(f =>
      parts(f).prose.flatMap(({ at, text }) =>
        [...text.matchAll(/`((?:src|test|docs)\/[\w./-]+\.\w+)`/g)].filter(m => !existsSync(path.join(ROOT, m[1]!))).map(m => `${at}: ${m[1]}`),
      ),
    );
    expect(wrong).toEqual([]);
  });

  it('nothing of the machine it was written on', () => {
    for (const f of [...LINKED]) expect(read(f), f).not.toMatch(/\/work\/|\/root\/|\/tmp\/|localhost:(?!8080)/);
  });
});
