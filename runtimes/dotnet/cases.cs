// The functions of cases.json: one type for each sort of them.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Newtonsoft.Json.Linq;

namespace Cases
{
    public class Echo
    {
        public JObject Main(JObject args) => args;

        public JObject Niam(JObject args) => args;

        public JArray List(JObject args) => new JArray("a", "b");

        public JArray Same(JArray args) => args;

        public JObject Wrapped(JObject args) => new JObject { ["args"] = args };

        public JObject Both(JObject args) => args;

        public JArray Both(JArray args) => args;

        public async Task<JObject> Later(JObject args)
        {
            await Task.Delay(1);
            return args;
        }

        public async Task<JArray> LaterList(JArray args)
        {
            await Task.Yield();
            return args;
        }

        public JToken Token(JObject args) => args["answer"];

        public JObject Sorry(JObject args) => new JObject { ["error"] = "sorry" };

        public JObject Framework(JObject args) => new JObject { ["error"] = AppContext.TargetFrameworkName };
    }

    public class Printing
    {
        public JObject Main(JObject args)
        {
            Console.WriteLine("hello stdout");
            Console.Error.WriteLine("hello stderr");
            return args;
        }

        public JObject Winter(JObject args)
        {
            string winter = $"{args["delimiter"]} ☃ {args["delimiter"]}";
            Console.WriteLine(winter);
            return new JObject { ["winter"] = winter };
        }

        public JObject Much(JObject args)
        {
            for (int i = 0; i < 30; i++)
            {
                Console.Write(new string('x', 100000));
                Console.Error.Write(new string('y', 100000));
            }
            return args;
        }

        public JObject Input(JObject args) => new JObject { ["length"] = Console.In.ReadToEnd().Length };
    }

    public class Variables
    {
        private static readonly string[] Early =
            new[] { "SOME_VAR", "ANOTHER_VAR", "LIST", "OBJECT", "NUMBER", "FLAG", "NOTHING" }
                .Select(Environment.GetEnvironmentVariable).ToArray();

        public JArray Main(JObject args) => new JArray(Early.Select(one => one ?? "").ToArray());

        public JObject Activation(JObject args)
        {
            var seen = new JObject();
            foreach (string name in new[] { "api_host", "api_key", "namespace", "action_name", "action_version", "activation_id", "deadline" })
            {
                string value = Environment.GetEnvironmentVariable("__OW_" + name.ToUpper());
                if (value != null)
                {
                    seen[name] = value;
                }
            }
            return seen;
        }

        public JObject Child(JObject args)
        {
            var start = new ProcessStartInfo("/bin/sh", "-c \"echo $__OW_NAMESPACE; { cat <&3; } 2>/dev/null || echo no channel\"")
            {
                RedirectStandardOutput = true,
            };
            using (Process child = Process.Start(start))
            {
                return new JObject { ["said"] = child.StandardOutput.ReadToEnd() };
            }
        }
    }

    public class Failing
    {
        public JObject Main(JObject args) => throw new InvalidOperationException("noooo!");

        public async Task<JObject> Later(JObject args)
        {
            await Task.Yield();
            throw new InvalidOperationException("noooo, later!");
        }

        public JObject Nothing(JObject args) => null;

        public Task<JObject> NoTask(JObject args) => null;

        public async Task NoResult(JObject args) => await Task.Yield();

        public async Task<string> Text(JObject args)
        {
            await Task.Yield();
            return "text";
        }

        public JObject Exit(JObject args)
        {
            Console.WriteLine("last words");
            Environment.Exit(4);
            return args;
        }

        public JObject Greedy(JObject args)
        {
            var all = new List<byte[]>();
            while (true)
            {
                all.Add(new byte[16 << 20]);
            }
        }
    }

    public class FailingConstructor
    {
        public FailingConstructor() => throw new InvalidOperationException("not made");

        public JObject Main(JObject args) => args;
    }

    public class Particular
    {
        private Particular(string what) => What = what;

        public string What { get; }

        public JObject Main(JObject args) => args;
    }

    public class Counting
    {
        private static int all;
        private int own;

        public JObject Main(JObject args) => new JObject { ["all"] = ++all, ["own"] = ++own };

        public JObject Thread(JObject args)
        {
            new Thread(() => System.Threading.Thread.Sleep(Timeout.Infinite)).Start();
            return args;
        }
    }

    public class Surroundings
    {
        public JObject Files(JObject args) => new JObject { ["text"] = File.ReadAllText("texts/one.txt") };

        public JObject Loaded(JObject args)
        {
            Type one = Type.GetType("Helping.Greeting, Helper");
            Type other = Assembly.GetExecutingAssembly().GetType("Cases.Echo");
            return new JObject { ["one"] = (string)one.GetMethod("Say").Invoke(null, new object[] { "tea" }), ["other"] = other?.Name };
        }

        public JObject Secrets(JObject args)
        {
            using (SHA256 digest = SHA256.Create())
            using (RSA key = RSA.Create(2048))
            {
                byte[] text = Encoding.UTF8.GetBytes("tea");
                byte[] signature = key.SignData(text, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
                return new JObject
                {
                    ["digest"] = BitConverter.ToString(digest.ComputeHash(text)).Replace("-", "").ToLowerInvariant().Substring(0, 8),
                    ["signed"] = key.VerifyData(text, signature, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1),
                };
            }
        }

        public JObject Client(JObject args)
        {
            using (new HttpClient(new HttpClientHandler { UseProxy = false }))
            {
                return args;
            }
        }
    }

    public class Together
    {
        private static readonly Barrier All = new Barrier(150);
        private static readonly TextWriter Kept = Console.Out;

        public JObject Main(JObject args)
        {
            string n = args["n"].ToString();
            Console.WriteLine("begin " + n);
            All.SignalAndWait();
            var child = new Thread(() => Kept.Write("child of " + n));
            child.Start();
            child.Join();
            Console.Error.WriteLine("end ☃ " + n);
            return args;
        }

        public async Task<JObject> Ways(JObject args)
        {
            switch ((string)args["how"])
            {
                case "throw":
                    throw new InvalidOperationException("thrown");
                case "null":
                    return null;
                default:
                    await Task.Delay(20);
                    return args;
            }
        }
    }

    public class Many
    {
        private static readonly SemaphoreSlim Last = new SemaphoreSlim(0);
        private static int here;

        /// Waits without a thread until 3000 of it do.
        public async Task<JObject> Main(JObject args)
        {
            if (Interlocked.Increment(ref here) == 3000)
            {
                Last.Release(3000);
            }
            await Last.WaitAsync();
            return args;
        }

        public JObject Blocking(JObject args)
        {
            Thread.Sleep(5);
            return args;
        }

        public JObject Printing(JObject args)
        {
            for (int i = 0; i < 30; i++)
            {
                Console.Write(new string(args["n"].ToString()[0], 100000));
            }
            return new JObject();
        }
    }

    public class Latest
    {
        private static readonly Barrier All = new Barrier(3);

        public JObject Main(JObject args)
        {
            All.SignalAndWait();
            return new JObject
            {
                ["id"] = Environment.GetEnvironmentVariable("__OW_ACTIVATION_ID"),
                ["namespace"] = Environment.GetEnvironmentVariable("__OW_NAMESPACE"),
            };
        }
    }
}
