// An assembly beside that of cases.cs, which knows it by name only.
namespace Helping
{
    public static class Greeting
    {
        public static string Say(string name) => $"Hello, {name}!";
    }
}
