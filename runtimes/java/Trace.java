package chasen;

import java.util.Arrays;

/** What the log says of an exception: its trace, without the frames below the function. */
final class Trace {
    private Trace() {}

    static void print(Throwable error) {
        for (Throwable one = error; one != null; one = one.getCause()) {
            StackTraceElement[] frames = one.getStackTrace();
            int count = frames.length;
            while (count > 0 && isOurs(frames[count - 1])) {
                count--;
            }
            one.setStackTrace(Arrays.copyOf(frames, count));
        }
        error.printStackTrace();
    }

    private static boolean isOurs(StackTraceElement frame) {
        String name = frame.getClassName();
        return name.startsWith("chasen.") || name.startsWith("java.lang.reflect.")
                || name.startsWith("jdk.internal.reflect.") || name.startsWith("sun.reflect.");
    }
}
