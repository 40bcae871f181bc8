// Node's Buffer has had these since its first releases; @types/node leaves them out. They skip the encoding lookup of toString.
declare global {
  interface Buffer {
    latin1Slice(start?: number, end?: number): string;
    utf8Slice(start?: number, end?: number): string;
  }
}
export {};
