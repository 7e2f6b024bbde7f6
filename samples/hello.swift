struct Guest: Decodable {
  let name: String?
}

struct Greeting: Encodable {
  let greeting: String
}

func main(guest: Guest, completion: (Greeting?, Error?) -> Void) {
  completion(Greeting(greeting: "Hello, \(guest.name ?? "stranger")!"), nil)
}
