interface Guest {
  name?: string;
}

export default ({ name = "stranger" }: Guest) => ({ greeting: `Hello, ${name}!` });
