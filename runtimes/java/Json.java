package chasen;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.google.gson.internal.LazilyParsedNumber;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.JsonWriter;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * JSON text to and from Gson's tree, by its streams alone: its own way there loads an adapter for every type that it
 * knows, which would be a good part of a cold start.
 */
final class Json {
    private Json() {}

    /** The one value of a text. */
    static JsonElement read(byte[] text) throws IOException {
        try (JsonReader reader =
                new JsonReader(new InputStreamReader(new ByteArrayInputStream(text), StandardCharsets.UTF_8))) {
            JsonElement value = read(reader);
            if (reader.peek() != JsonToken.END_DOCUMENT) {
                throw new IOException("not one JSON value");
            }
            return value;
        }
    }

    private static JsonElement read(JsonReader reader) throws IOException {
        switch (reader.peek()) {
            case BEGIN_OBJECT:
                JsonObject object = new JsonObject();
                reader.beginObject();
                while (reader.hasNext()) {
                    object.add(reader.nextName(), read(reader));
                }
                reader.endObject();
                return object;
            case BEGIN_ARRAY:
                JsonArray array = new JsonArray();
                reader.beginArray();
                while (reader.hasNext()) {
                    array.add(read(reader));
                }
                reader.endArray();
                return array;
            case STRING:
                return new JsonPrimitive(reader.nextString());
            case NUMBER:
                return new JsonPrimitive(new LazilyParsedNumber(reader.nextString()));
            case BOOLEAN:
                return new JsonPrimitive(reader.nextBoolean());
            default:
                reader.nextNull();
                return JsonNull.INSTANCE;
        }
    }

    static String write(JsonElement value) throws IOException {
        StringWriter text = new StringWriter();
        JsonWriter writer = new JsonWriter(text);
        writer.setSerializeNulls(true);
        write(writer, value);
        writer.flush();
        return text.toString();
    }

    private static void write(JsonWriter writer, JsonElement value) throws IOException {
        if (value instanceof JsonObject) {
            writer.beginObject();
            for (Map.Entry<String, JsonElement> entry : ((JsonObject) value).entrySet()) {
                writer.name(entry.getKey());
                write(writer, entry.getValue());
            }
            writer.endObject();
        } else if (value instanceof JsonArray) {
            writer.beginArray();
            for (JsonElement item : (JsonArray) value) {
                write(writer, item);
            }
            writer.endArray();
        } else if (value == null || value.isJsonNull()) {
            writer.nullValue();
        } else {
            JsonPrimitive primitive = value.getAsJsonPrimitive();
            if (primitive.isNumber()) {
                writer.value(primitive.getAsNumber());
            } else if (primitive.isBoolean()) {
                writer.value(primitive.getAsBoolean());
            } else {
                writer.value(primitive.getAsString());
            }
        }
    }

    /** A member that is a text, or {@code otherwise}. */
    static String text(JsonObject object, String name, String otherwise) {
        JsonElement value = object.get(name);
        return value == null || value.isJsonNull() ? otherwise : value.getAsString();
    }
}
