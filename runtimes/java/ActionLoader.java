package chasen;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Loads a function's classes from its folder and the jars in it. Their calls of {@code System.exit} become calls of
 * {@link Exit}: the JDK has no other way left to keep a function from ending the process.
 */
final class ActionLoader extends URLClassLoader {
    /** Length of a constant beside its tag, by tag; texts bring their own. */
    private static final int[] CONSTANT_LENGTHS = {0, 0, 0, 4, 4, 8, 8, 2, 2, 4, 4, 4, 4, 0, 0, 3, 2, 4, 4, 2, 2};
    private static final int TEXT = 1;
    private static final int LONG = 5;
    private static final int DOUBLE = 6;
    private static final int CLASS = 7;
    private static final int METHOD = 10;
    private static final int NAME_AND_TYPE = 12;
    private static final byte[] SYSTEM = "java/lang/System".getBytes(StandardCharsets.UTF_8);

    ActionLoader(Path folder, ClassLoader parent) throws IOException {
        super(urls(folder), parent);
    }

    /** The jars of a folder: at its root and in {@code lib}. */
    static List<Path> jars(Path folder) throws IOException {
        List<Path> jars = new ArrayList<>();
        for (Path place : new Path[] {folder, folder.resolve("lib")}) {
            if (Files.isDirectory(place)) {
                try (Stream<Path> files = Files.list(place)) {
                    jars.addAll(files.filter(file -> file.toString().endsWith(".jar")).sorted().collect(Collectors.toList()));
                }
            }
        }
        return jars;
    }

    private static URL[] urls(Path folder) throws IOException {
        List<URL> urls = new ArrayList<>();
        urls.add(url(folder));
        for (Path jar : jars(folder)) {
            urls.add(url(jar));
        }
        return urls.toArray(new URL[0]);
    }

    private static URL url(Path path) throws MalformedURLException {
        return path.toUri().toURL();
    }

    @Override
    protected Class<?> findClass(String name) throws ClassNotFoundException {
        URL resource = findResource(name.replace('.', '/') + ".class");
        if (resource == null) {
            throw new ClassNotFoundException(name);
        }
        byte[] bytes;
        try (InputStream stream = resource.openStream()) {
            bytes = stream.readAllBytes();
        } catch (IOException error) {
            throw new ClassNotFoundException(name, error);
        }
        byte[] tame = withoutExit(bytes);
        int dot = name.lastIndexOf('.');
        if (dot > 0 && getDefinedPackage(name.substring(0, dot)) == null) {
            definePackage(name.substring(0, dot), null, null, null, null, null, null, null);
        }
        return defineClass(name, tame, 0, tame.length);
    }

    /**
     * The class with {@code System.exit} meaning {@code Exit.exit}: a new class constant at the end of the pool, and the
     * method's constant pointing to it. What cannot be read as a class is left to the JVM to refuse.
     */
    static byte[] withoutExit(byte[] bytes) {
        if (!contains(bytes, SYSTEM)) {
            return bytes;
        }
        try {
            ByteBuffer file = ByteBuffer.wrap(bytes);
            int count = file.getChar(8);
            int[] places = new int[count];
            int place = 10;
            for (int index = 1; index < count; index++) {
                places[index] = place;
                int tag = file.get(place);
                place += 1 + (tag == TEXT ? 2 + file.getChar(place + 1) : CONSTANT_LENGTHS[tag]);
                if (tag == LONG || tag == DOUBLE) {
                    index++;
                }
            }
            List<Integer> exits = new ArrayList<>();
            for (int index = 1; index < count; index++) {
                if (places[index] != 0 && file.get(places[index]) == METHOD && isExit(file, places, places[index])) {
                    exits.add(places[index]);
                }
            }
            if (exits.isEmpty() || count > Character.MAX_VALUE - 2) {
                return bytes;
            }
            exits.forEach(exit -> file.putChar(exit + 1, (char) (count + 1)));
            file.putChar(8, (char) (count + 2));
            ByteArrayOutputStream tame = new ByteArrayOutputStream(bytes.length + 32);
            DataOutputStream out = new DataOutputStream(tame);
            out.write(bytes, 0, place);
            out.writeByte(TEXT);
            out.writeUTF("chasen/Exit");
            out.writeByte(CLASS);
            out.writeChar(count);
            out.write(bytes, place, bytes.length - place);
            return tame.toByteArray();
        } catch (RuntimeException | IOException unreadable) {
            return bytes;
        }
    }

    private static boolean isExit(ByteBuffer file, int[] places, int method) {
        int owner = places[file.getChar(method + 1)];
        int nameAndType = places[file.getChar(method + 3)];
        return file.get(owner) == CLASS && file.get(nameAndType) == NAME_AND_TYPE
                && text(file, places[file.getChar(owner + 1)]).equals("java/lang/System")
                && text(file, places[file.getChar(nameAndType + 1)]).equals("exit");
    }

    private static String text(ByteBuffer file, int place) {
        return new String(file.array(), place + 3, file.getChar(place + 1), StandardCharsets.UTF_8);
    }

    private static boolean contains(byte[] bytes, byte[] wanted) {
        outer:
        for (int start = 0; start <= bytes.length - wanted.length; start++) {
            for (int index = 0; index < wanted.length; index++) {
                if (bytes[start + index] != wanted[index]) {
                    continue outer;
                }
            }
            return true;
        }
        return false;
    }
}
