using System;
using System.IO;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;
using Newtonsoft.Json.Linq;

namespace Chasen
{
    /// <summary>The text is for the caller.</summary>
    internal sealed class Refusal : Exception
    {
        internal Refusal(string text)
            : base(text)
        {
        }
    }

    /// <summary>
    /// Launcher of the dotnet kinds: owns one action inside a sandbox and answers frames on descriptor 3.
    ///
    /// Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or DeveloperError out,
    /// as often as asked, and where runs overlap Log out. End of file on descriptor 3 ends the process.
    /// </summary>
    internal sealed class Launcher
    {
        private const string NoCode = "Missing main/no code to execute.";
        private const string NotBinary = "code must be binary (zip file).";
        private const string Twice = "Cannot initialize the action more than once.";
        private const string NoAction = "Cannot invoke an uninitialized action.";
        private const string Null = "The action returned null";
        private const string BadResult = "The action did not return a dictionary or array.";
        private const string NoObject = "The request is not an object.";

        private const int Descriptor = 3;
        /// <summary>Exit status of a launcher that cannot go on.</summary>
        private const int Failed = 70;

        private readonly Channel channel;
        private Function function;
        /// <summary>Where runs overlap.</summary>
        private Overlap overlap;

        private Launcher(Channel channel)
        {
            this.channel = channel;
        }

        internal static void Main()
        {
            // Whatever the locale: UTF-8, and at once, so that what is printed survives a time limit.
            Console.SetOut(Writer(Console.OpenStandardOutput()));
            Console.SetError(Writer(Console.OpenStandardError()));
            int status = 0;
            try
            {
                new Launcher(new Channel(Descriptor)).Serve();
            }
            catch (Channel.BrokenException broken)
            {
                Console.Error.WriteLine("launcher: " + broken.Message);
                status = Failed;
            }
            catch (IOException)
            {
                // The platform is gone: the same as the end of the channel.
            }
            // Threads that the function left do not hold the process.
            Environment.Exit(status);
        }

        internal static TextWriter Writer(Stream stream) =>
            new StreamWriter(stream, new UTF8Encoding(false)) { AutoFlush = true };

        private void Serve()
        {
            channel.Write(Channel.Hello, new byte[16], "{\"protocol\":1,\"concurrent\":true}");
            for (Channel.Frame frame = channel.Read(); frame != null; frame = channel.Read())
            {
                byte kind = frame.Kind == Channel.Init ? Channel.Initialized : Channel.Result;
                string text;
                try
                {
                    switch (frame.Kind)
                    {
                        case Channel.Init:
                            Init(Parse(frame.Payload));
                            text = "";
                            break;
                        case Channel.Run:
                            JsonElement message = Parse(frame.Payload);
                            Variables.Refresh(message);
                            Function called = function ?? throw new Refusal(NoAction);
                            if (overlap != null)
                            {
                                overlap.Begin(frame.ActivationId, () => Run(called, message));
                                continue;
                            }
                            text = Run(called, message).GetAwaiter().GetResult();
                            break;
                        default:
                            throw new Channel.BrokenException($"frames of kind {frame.Kind} are not for a launcher");
                    }
                }
                catch (Exception error) when (error is Refusal || Text.IsUnreadable(error))
                {
                    kind = Channel.DeveloperError;
                    text = Text.OfError(error.Message);
                }
                channel.Write(kind, frame.ActivationId, text);
            }
        }

        private static JsonElement Parse(byte[] payload)
        {
            JsonElement message = Text.Parse(payload);
            return message.ValueKind == JsonValueKind.Object ? message : throw new Refusal(NoObject);
        }

        private void Init(JsonElement message)
        {
            if (function != null)
            {
                Console.Error.WriteLine(Twice);
                throw new Refusal(Twice);
            }
            message.TryGetProperty("value", out JsonElement asked);
            string folder = Member(asked, "path", JsonValueKind.String)?.GetString() ?? "/action";
            string main = Member(asked, "main", JsonValueKind.String)?.GetString();
            bool isBinary = Member(asked, "binary", JsonValueKind.True) != null;
            if (string.IsNullOrEmpty(main) || !(isBinary || IsSource(folder)))
            {
                throw new Refusal(NoCode);
            }
            if (!isBinary)
            {
                throw new Refusal(NotBinary);
            }
            if (Member(asked, "env", JsonValueKind.Object) is JsonElement variables)
            {
                Variables.Set(variables);
            }
            try
            {
                Directory.SetCurrentDirectory(folder);
                Library.Load(folder);
                if (Member(asked, "concurrency", JsonValueKind.Number) is JsonElement most && most.GetInt32() > 1)
                {
                    // Before the code is loaded: it may keep the streams that it finds.
                    overlap = new Overlap(channel, most.GetInt32());
                }
                function = Function.Load(folder, main);
            }
            catch (Exception error) when (!(error is Refusal))
            {
                Trace.Print(error);
                throw new Refusal(error.Message);
            }
        }

        /// <summary>The member of an object, if it has one of this sort.</summary>
        private static JsonElement? Member(JsonElement value, string name, JsonValueKind kind) =>
            value.ValueKind == JsonValueKind.Object && value.TryGetProperty(name, out JsonElement member)
                && member.ValueKind == kind ? member : (JsonElement?)null;

        /// <summary>True if the code came as text.</summary>
        private static bool IsSource(string folder)
        {
            var file = new FileInfo(Path.Combine(folder, "exec"));
            return file.Exists && file.Length > 0;
        }

        private static async Task<string> Run(Function function, JsonElement message)
        {
            object result;
            try
            {
                result = function.Call(Argument(message));
                if (result is Task task)
                {
                    await task.ConfigureAwait(false);
                    result = Function.ResultOf(task);
                }
                if (result is JObject || result is JArray)
                {
                    return Text.Of((JToken)result);
                }
            }
            catch (Exception error)
            {
                Trace.Print(error);
                throw new Refusal(error.Message);
            }
            string why = result == null ? Null : BadResult;
            Console.Error.WriteLine(why);
            throw new Refusal(why);
        }

        private static JToken Argument(JsonElement message) =>
            message.TryGetProperty("value", out JsonElement value) && value.ValueKind != JsonValueKind.Null
                ? Text.Tree(value) : new JObject();
    }
}
