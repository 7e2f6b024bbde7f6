package chasen;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.File;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.file.Path;
import java.nio.file.Paths;

/** A loaded function: the class, and the name of its static methods that take an object or an array. */
final class Action {
    private final Class<?> owner;
    private final String method;

    private Action(Class<?> owner, String method) {
        this.owner = owner;
        this.method = method;
    }

    /** Loads what {@code main} names: {@code package.Class#method}, the method being {@code main} if none is named. */
    static Action load(String folder, boolean binary, String main) throws IOException, ReflectiveOperationException {
        String[] parts = main.split("#", 2);
        // What actions say that do not say anything.
        String name = main.equals("main") ? "Main" : parts[0];
        String method = parts.length < 2 || parts[1].isEmpty() ? "main" : parts[1];
        Path classes = Paths.get(folder);
        if (!binary) {
            classes = Sources.compileOne(classes.resolve("exec"), name);
        } else if (new File(folder, "exec").isFile() && new File(folder).list().length == 1) {
            throw new IOException("the code is neither a jar nor source");
        } else {
            Sources.compileAll(classes);
        }
        ActionLoader loader = new ActionLoader(classes, Launcher.class.getClassLoader());
        Thread.currentThread().setContextClassLoader(loader);
        Class<?> owner = Class.forName(name, true, loader);
        for (Method declared : owner.getDeclaredMethods()) {
            if (declared.getName().equals(method)) {
                return new Action(owner, method);
            }
        }
        throw new NoSuchMethodException(name + "." + method);
    }

    /** Calls the method for this type of argument; throws what it throws. */
    JsonElement call(JsonElement argument) throws Throwable {
        Class<?> type = argument.isJsonArray() ? JsonArray.class : JsonObject.class;
        Method chosen = owner.getDeclaredMethod(method, type);
        chosen.setAccessible(true);
        try {
            Object result = chosen.invoke(null, argument);
            // Any other value is no result, but not null either.
            return result == null || result instanceof JsonElement ? (JsonElement) result : com.google.gson.JsonNull.INSTANCE;
        } catch (InvocationTargetException thrown) {
            throw thrown.getCause();
        }
    }
}
