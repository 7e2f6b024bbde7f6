using System;
using System.IO;
using System.Reflection;
using System.Threading.Tasks;
using Newtonsoft.Json.Linq;

namespace Chasen
{
    /// <summary>A loaded function: a type that is made anew for every run, and the name of its public methods.</summary>
    internal sealed class Function
    {
        private const string BadMain = "main required format is \"Assembly::Type::Function\".";

        private readonly ConstructorInfo constructor;
        private readonly MethodInfo[] methods;

        private Function(ConstructorInfo constructor, MethodInfo[] methods)
        {
            this.constructor = constructor;
            this.methods = methods;
        }

        /// <summary>Loads what <paramref name="main"/> names: <c>Assembly::Full.Type::Method</c>.</summary>
        internal static Function Load(string folder, string main)
        {
            string[] parts = main.Split("::");
            if (parts.Length != 3 || Array.Exists(parts, string.IsNullOrWhiteSpace))
            {
                throw new Refusal(BadMain);
            }
            string file = parts[0] + ".dll";
            string path = Path.Combine(folder, file);
            if (!File.Exists(path))
            {
                throw new Refusal($"Unable to locate requested assembly (\"{file}\").");
            }
            Assembly assembly = new Assemblies(folder, path).LoadFromAssemblyPath(path);
            Type type = assembly.GetType(parts[1])
                ?? throw new Refusal($"Unable to locate requested type (\"{parts[1]}\").");
            MethodInfo[] methods = Array.FindAll(type.GetMethods(), method => method.Name == parts[2]);
            if (methods.Length == 0)
            {
                throw new Refusal($"Unable to locate requested method (\"{parts[2]}\").");
            }
            ConstructorInfo constructor = type.GetConstructor(Type.EmptyTypes)
                ?? throw new Refusal($"Unable to locate appropriate constructor for (\"{parts[1]}\").");
            return new Function(constructor, methods);
        }

        /// <summary>Calls the method for this type of argument on a new instance; throws what it throws.</summary>
        internal object Call(JToken argument)
        {
            object instance = constructor.Invoke(BindingFlags.DoNotWrapExceptions, null, null, null);
            MethodInfo method = Array.Find(methods, one => Takes(one, argument)) ?? methods[0];
            return method.Invoke(instance, BindingFlags.DoNotWrapExceptions, null, new object[] { argument }, null);
        }

        private static bool Takes(MethodInfo method, JToken argument)
        {
            ParameterInfo[] parameters = method.GetParameters();
            return parameters.Length == 1 && parameters[0].ParameterType.IsInstanceOfType(argument);
        }

        /// <summary>What a task that has come to its end was for; null for a task of nothing.</summary>
        internal static object ResultOf(Task task)
        {
            switch (task)
            {
                case Task<JObject> ofObject:
                    return ofObject.Result;
                case Task<JArray> ofArray:
                    return ofArray.Result;
                case Task<JToken> ofToken:
                    return ofToken.Result;
                default:
                    // An asynchronous method without a result has one that nobody can name.
                    object result = task.GetType().GetProperty("Result")?.GetValue(task);
                    return result?.GetType().Name == "VoidTaskResult" ? null : result;
            }
        }
    }
}
