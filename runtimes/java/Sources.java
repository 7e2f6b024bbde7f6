package chasen;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/** Functions that come as source are compiled when they are loaded. */
final class Sources {
    private Sources() {}

    static boolean isThere(String folder) {
        return new File(folder, "exec").length() > 0;
    }

    /** Compiles a single source that holds this class; gives the folder of the classes. */
    static Path compileOne(Path source, String name) throws IOException {
        Path folder = Files.createTempDirectory("action");
        String simple = name.substring(name.lastIndexOf('.') + 1);
        // A public class wants a file of its name.
        Path named = Files.copy(source, folder.resolve(simple + ".java"));
        compile(folder, List.of(named));
        return folder;
    }

    /** Compiles what lies in a folder as source, if anything does, beside it. */
    static void compileAll(Path folder) throws IOException {
        List<Path> sources;
        try (Stream<Path> files = Files.walk(folder)) {
            sources = files.filter(file -> file.toString().endsWith(".java") && !hasClass(file)).collect(Collectors.toList());
        }
        if (!sources.isEmpty()) {
            compile(folder, sources);
        }
    }

    private static boolean hasClass(Path source) {
        return Files.exists(source.resolveSibling(source.getFileName().toString().replaceFirst("java$", "class")));
    }

    private static void compile(Path folder, List<Path> sources) throws IOException {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        if (compiler == null) {
            throw new IOException("source needs a JDK, and this Java is none");
        }
        String path = System.getProperty("java.class.path") + File.pathSeparator + folder
                + ActionLoader.jars(folder).stream().map(jar -> File.pathSeparator + jar).collect(Collectors.joining());
        List<String> options = new ArrayList<>(Arrays.asList("-d", folder.toString(), "-cp", path, "-proc:none", "-g"));
        DiagnosticCollector<JavaFileObject> found = new DiagnosticCollector<>();
        try (StandardJavaFileManager files = compiler.getStandardFileManager(found, Locale.ROOT, StandardCharsets.UTF_8)) {
            Iterable<? extends JavaFileObject> units = files.getJavaFileObjectsFromFiles(
                    sources.stream().map(Path::toFile).collect(Collectors.toList()));
            if (compiler.getTask(null, files, found, options, null, units).call()) {
                return;
            }
        }
        String text = found.getDiagnostics().stream()
                .filter(one -> one.getKind() == Diagnostic.Kind.ERROR)
                .map(one -> describe(folder, one))
                .collect(Collectors.joining("\n"));
        throw new IOException(text);
    }

    /** {@code Main.java:3: ';' expected} */
    private static String describe(Path folder, Diagnostic<? extends JavaFileObject> error) {
        if (error.getSource() == null) {
            return error.getMessage(Locale.ROOT);
        }
        Path file = folder.relativize(Path.of(error.getSource().getName()));
        return file + ":" + error.getLineNumber() + ": " + error.getMessage(Locale.ROOT);
    }
}
