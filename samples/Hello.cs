using Newtonsoft.Json.Linq;

public class Hello
{
    public JObject Main(JObject args) => new JObject { ["greeting"] = $"Hello, {args["name"] ?? "stranger"}!" };
}
