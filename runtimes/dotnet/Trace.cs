using System;

namespace Chasen
{
    /// <summary>What the log says of an exception: its trace, without the frames below the function.</summary>
    internal static class Trace
    {
        private const string Ours = "   at Chasen.";
        private const string Reflection = "   at System.Reflection.";
        private const string Native = "   at System.RuntimeMethodHandle.";
        /// <summary>Between the parts of an asynchronous one.</summary>
        private const string Seam = "--- End of stack trace";

        internal static void Print(Exception error)
        {
            string[] lines = error.ToString().Split('\n');
            int count = lines.Length;
            while (count > 1 && IsOurs(lines[count - 1]))
            {
                count--;
            }
            Console.Error.WriteLine(string.Join('\n', lines, 0, count));
        }

        private static bool IsOurs(string line) => Array.Exists(
            new[] { Ours, Reflection, Native, Seam }, start => line.StartsWith(start, StringComparison.Ordinal));
    }
}
