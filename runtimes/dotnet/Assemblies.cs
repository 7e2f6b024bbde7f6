using System;
using System.IO;
using System.Reflection;
using System.Runtime.Loader;

namespace Chasen
{
    /// <summary>
    /// Where a function's assemblies are found: in its own folder first, as it was published, then among the framework's.
    /// </summary>
    internal sealed class Assemblies : AssemblyLoadContext
    {
        /// <summary>Shared with the launcher: the function is called with its types.</summary>
        internal const string Json = "Newtonsoft.Json";
        /// <summary>There is one per process, and what is published with its framework brings another.</summary>
        private const string Core = "System.Private.CoreLib";

        private readonly string folder;
        /// <summary>Knows which of several files is the one for this system; null where there is one of each only.</summary>
        private readonly AssemblyDependencyResolver resolver;

        internal Assemblies(string folder, string main)
            : base("action")
        {
            this.folder = folder;
            if (Directory.Exists(Path.Combine(folder, "runtimes")) && File.Exists(Path.ChangeExtension(main, ".deps.json")))
            {
                resolver = new AssemblyDependencyResolver(main);
            }
        }

        protected override Assembly Load(AssemblyName name)
        {
            if (name.Name == Json)
            {
                return Library.Json;
            }
            if (name.Name == Core)
            {
                return null;
            }
            string path = resolver?.ResolveAssemblyToPath(name)
                ?? Path.Combine(folder, name.CultureName ?? "", name.Name + ".dll");
            return File.Exists(path) ? LoadFromAssemblyPath(path) : null;
        }

        protected override IntPtr LoadUnmanagedDll(string name)
        {
            string path = resolver?.ResolveUnmanagedDllToPath(name) ?? Array.Find(
                new[] { $"lib{name}.so", $"{name}.so", name }, file => File.Exists(Path.Combine(folder, file)));
            return path == null ? IntPtr.Zero : LoadUnmanagedDllFromPath(Path.Combine(folder, path));
        }
    }

    /// <summary>The library of JSON that function and launcher share.</summary>
    internal static class Library
    {
        /// <summary>As it was loaded.</summary>
        internal static Assembly Json { get; private set; }

        /// <summary>
        /// Loads the newer one of the function's and the platform's. Before that, nothing may run that names one of its
        /// types.
        /// </summary>
        internal static void Load(string folder)
        {
            const string File = Assemblies.Json + ".dll";
            string ours = Path.Combine(AppContext.BaseDirectory, "library", File);
            string theirs = Path.Combine(folder, File);
            bool isTheirs = System.IO.File.Exists(theirs)
                && AssemblyName.GetAssemblyName(theirs).Version > AssemblyName.GetAssemblyName(ours).Version;
            Json = AssemblyLoadContext.Default.LoadFromAssemblyPath(isTheirs ? theirs : ours);
        }
    }
}
