package chasen;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.lang.reflect.Field;
import java.util.Locale;
import java.util.Map;

/** The process's environment, which Java shows but does not let anybody change: changed in the map behind the view. */
final class Environment {
    private static final String[] OF_ACTIVATIONS = {
        "__OW_NAMESPACE", "__OW_ACTION_NAME", "__OW_ACTION_VERSION", "__OW_ACTIVATION_ID", "__OW_TRANSACTION_ID",
        "__OW_DEADLINE", "__OW_API_KEY",
    };
    private static final Map<String, String> VARIABLES = variables();

    static {
        VARIABLES.remove("CHASEN_MODULES");
    }

    private Environment() {}

    @SuppressWarnings("unchecked")
    private static Map<String, String> variables() {
        try {
            Map<String, String> view = System.getenv();
            Field behind = view.getClass().getDeclaredField("m");
            behind.setAccessible(true);
            return (Map<String, String>) behind.get(view);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Sets a variable: texts as they are, null as nothing, everything else as its JSON text. */
    static void set(String name, JsonElement value) {
        try {
            if (value.isJsonNull()) {
                VARIABLES.put(name, "");
            } else if (value.isJsonPrimitive() && value.getAsJsonPrimitive().isString()) {
                VARIABLES.put(name, value.getAsString());
            } else {
                VARIABLES.put(name, Json.write(value));
            }
        } catch (IllegalArgumentException | IOException unfit) {
            // A name or value that no environment can hold.
        }
    }

    /** Makes `__OW_*` say what this run says. Others that run meanwhile find a name there that was there before. */
    static void refresh(JsonObject message) {
        for (String name : OF_ACTIVATIONS) {
            JsonElement value = message.get(name.substring("__OW_".length()).toLowerCase(Locale.ROOT));
            if (value == null || !value.isJsonPrimitive() || !value.getAsJsonPrimitive().isString()) {
                VARIABLES.remove(name);
            }
        }
        for (Map.Entry<String, JsonElement> entry : message.entrySet()) {
            JsonElement value = entry.getValue();
            boolean isText = value.isJsonPrimitive() && value.getAsJsonPrimitive().isString();
            if (isText && !entry.getKey().equals("value")) {
                set("__OW_" + entry.getKey().toUpperCase(Locale.ROOT), value);
            }
        }
    }
}
