package main

func Main(args map[string]interface{}) map[string]interface{} {
	name, ok := args["name"].(string)
	if !ok {
		name = "stranger"
	}
	return map[string]interface{}{"greeting": "Hello, " + name + "!"}
}
