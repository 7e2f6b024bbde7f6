function main({ name = 'stranger' }) {
  return { greeting: `Hello, ${name}!` };
}
