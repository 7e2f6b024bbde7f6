def main(args)
  name = args.fetch('name', 'stranger')
  { greeting: "Hello, #{name}!" }
end
