package chasen;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.util.Map;

/**
 * Launcher of the java kinds: owns one action inside a sandbox and answers frames on fd 3.
 *
 * <p>Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or DeveloperError out,
 * as often as asked, and where runs overlap Log out. End of file on fd 3 ends the process.
 *
 * <p>Started from a jar whose manifest opens the few packages of the JDK that it reaches into, with an archive of its
 * loaded classes beside it, made by `build.sh` with the argument `train`.
 */
public final class Launcher {
    private static final String NO_CODE = "Missing main/no code to execute.";
    private static final String TWICE = "Cannot initialize the action more than once.";
    private static final String NO_ACTION = "Cannot invoke an uninitialized action.";
    private static final String NULL = "The action returned null";
    private static final String BAD_RESULT = "The action did not return a dictionary or array.";
    private static final String NOT_LOADED = "An error has occurred (see logs for details): ";
    private static final String NOT_RUN = "An error has occurred while invoking the action (see logs for details): ";

    /** The text is for the caller. */
    static final class Refusal extends Exception {
        private static final long serialVersionUID = 1;

        Refusal(String text) {
            super(text);
        }

        /** The payload of a DeveloperError. */
        String body() throws IOException {
            JsonObject error = new JsonObject();
            error.addProperty("error", getMessage());
            return Json.write(error);
        }
    }

    private final Channel channel;
    private Action action;
    /** Where runs overlap. */
    private Overlap overlap;

    private Launcher(Channel channel) {
        this.channel = channel;
    }

    /** Serves the channel; with {@code train} and a folder, made up calls of the class Sample that lies there, as source and compiled. */
    public static void main(String[] arguments) throws Exception {
        // Whatever the locale: UTF-8, and line by line, so that what is printed survives a time limit.
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8"));
        System.setErr(new PrintStream(new FileOutputStream(FileDescriptor.err), true, "UTF-8"));
        if (arguments.length == 2 && arguments[0].equals("train")) {
            train(arguments[1]);
            return;
        }
        Constructor<FileDescriptor> number = FileDescriptor.class.getDeclaredConstructor(int.class);
        number.setAccessible(true);
        FileDescriptor descriptor = number.newInstance(3);
        Channel channel = new Channel(new FileInputStream(descriptor), new FileOutputStream(descriptor));
        try {
            new Launcher(channel).serve();
        } catch (Channel.Broken broken) {
            System.err.println("launcher: " + broken.getMessage());
            Runtime.getRuntime().halt(70);
        } catch (IOException gone) {
            // The platform is gone: the same as the end of the channel.
        } catch (Throwable error) {
            // No memory or no thread left to serve with.
            error.printStackTrace();
            Runtime.getRuntime().halt(70);
        }
        // Threads that the function left do not hold the process.
        Runtime.getRuntime().halt(0);
    }

    private static void train(String folder) throws IOException, Channel.Broken {
        for (boolean binary : new boolean[] {false, true}) {
            String init = "{\"value\":{\"name\":\"s\",\"main\":\"Sample\",\"binary\":" + binary
                    + ",\"env\":{\"A\":\"b\"},\"path\":\"" + folder + "\"}}";
            String run = "{\"value\":{\"name\":\"s\",\"n\":[1,true,null]},\"namespace\":\"_\",\"deadline\":\"1\"}";
            ByteArrayOutputStream frames = new ByteArrayOutputStream();
            Channel asking = new Channel(new ByteArrayInputStream(new byte[0]), frames);
            asking.write(Channel.INIT, new byte[16], init);
            asking.write(Channel.RUN, new byte[16], run);
            ByteArrayOutputStream answers = new ByteArrayOutputStream();
            new Launcher(new Channel(new ByteArrayInputStream(frames.toByteArray()), answers)).serve();
            if (!answers.toString("UTF-8").contains("\"trained\":true")) {
                throw new IOException("the sample does not run: " + answers.toString("UTF-8"));
            }
        }
    }

    private void serve() throws IOException, Channel.Broken {
        channel.write(Channel.HELLO, new byte[16], "{\"protocol\":1,\"concurrent\":true}");
        for (Channel.Frame frame = channel.read(); frame != null; frame = channel.read()) {
            int kind;
            String text;
            try {
                switch (frame.kind) {
                    case Channel.INIT:
                        init(parse(frame.payload));
                        kind = Channel.INITIALIZED;
                        text = "";
                        break;
                    case Channel.RUN:
                        JsonObject message = parse(frame.payload);
                        Environment.refresh(message);
                        if (overlap != null) {
                            overlap.begin(frame.activationId, () -> run(message));
                            continue;
                        }
                        text = run(message);
                        kind = Channel.RESULT;
                        break;
                    default:
                        throw new Channel.Broken("frames of kind " + frame.kind + " are not for a launcher");
                }
            } catch (Refusal refusal) {
                kind = Channel.DEVELOPER_ERROR;
                text = refusal.body();
            }
            System.out.flush();
            System.err.flush();
            channel.write(kind, frame.activationId, text);
        }
    }

    private static JsonObject parse(byte[] payload) throws Refusal {
        try {
            JsonElement message = Json.read(payload);
            if (message.isJsonObject()) {
                return message.getAsJsonObject();
            }
            throw new Refusal(NOT_LOADED + "the request is not an object");
        } catch (IOException | RuntimeException | StackOverflowError error) {
            throw new Refusal(NOT_LOADED + error);
        }
    }

    private void init(JsonObject message) throws Refusal {
        if (action != null) {
            System.err.println(TWICE);
            throw new Refusal(TWICE);
        }
        JsonElement value = message.get("value");
        JsonObject asked = value != null && value.isJsonObject() ? value.getAsJsonObject() : new JsonObject();
        String folder = Json.text(asked, "path", "/action");
        String main = Json.text(asked, "main", "");
        boolean binary = asked.has("binary") && asked.get("binary").getAsBoolean();
        if (main.isEmpty() || !(binary || Sources.isThere(folder))) {
            throw new Refusal(NO_CODE);
        }
        JsonElement env = asked.get("env");
        if (env != null && env.isJsonObject()) {
            for (Map.Entry<String, JsonElement> entry : env.getAsJsonObject().entrySet()) {
                Environment.set(entry.getKey(), entry.getValue());
            }
        }
        try {
            int concurrency = asked.has("concurrency") ? asked.get("concurrency").getAsInt() : 1;
            if (concurrency > 1) {
                // Before the code is loaded: it may keep the streams that it finds.
                overlap = new Overlap(channel, concurrency);
            }
            action = Action.load(folder, binary, main);
        } catch (Throwable error) {
            Trace.print(error);
            throw new Refusal(NOT_LOADED + error);
        }
    }

    private String run(JsonObject message) throws Refusal {
        if (action == null) {
            throw new Refusal(NO_ACTION);
        }
        JsonElement value = message.get("value");
        JsonElement result;
        try {
            result = action.call(value == null || value.isJsonNull() ? new JsonObject() : value);
            if (result instanceof JsonObject || result instanceof JsonArray) {
                return Json.write(result);
            }
        } catch (Throwable error) {
            Trace.print(error);
            throw new Refusal(NOT_RUN + error);
        }
        String why = result == null ? NULL : BAD_RESULT;
        System.err.println(why);
        throw new Refusal(why);
    }
}
