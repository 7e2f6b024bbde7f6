interface Guest {
  name?: string;
}

export function main({ name = 'stranger' }: Guest): { greeting: string } {
  return { greeting: `Hello, ${name}!` };
}
