package chasen;

import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Runs that overlap: each on a thread of its own. What a run's thread prints, and threads that it starts, goes to that
 * activation, all of it before the reply. Loaded for actions that allow it only.
 */
final class Overlap {
    /** Most platform threads, carriers of virtual ones too; a sandbox has 1024 processes and threads in all. */
    private static final int MAX_THREADS = 512;
    /** Carriers that virtual threads have where runs are many: before JDK 24 one that waits in a monitor keeps its own. */
    private static final int CARRIERS = 32;
    private static final long IDLE_SECONDS = 10;
    /** Most bytes of text in one frame of log. */
    private static final int MAX_LOG = 64 * 1024;
    /** What is collected of a line that has not ended, in bytes. */
    private static final int MAX_COLLECTED = 4 * 1024;

    private static final InheritableThreadLocal<Run> CURRENT = new InheritableThreadLocal<>();

    private final Channel channel;
    private final Executor threads;

    /** Begins to attribute output. */
    Overlap(Channel channel, int most) throws IOException {
        this.channel = channel;
        threads = threads(most);
        System.setOut(new PrintStream(new Attributed(1, FileDescriptor.out), true, "UTF-8"));
        System.setErr(new PrintStream(new Attributed(2, FileDescriptor.err), true, "UTF-8"));
    }

    /** What a run does on its thread; what it returns or throws becomes its reply. */
    interface Work {
        String result() throws Launcher.Refusal;
    }

    /** Takes a run in and returns. */
    void begin(byte[] activationId, Work work) {
        Run run = new Run(activationId);
        threads.execute(() -> {
            CURRENT.set(run);
            try {
                run.end(work);
            } catch (IOException gone) {
                // The platform is gone: the same as the end of the channel.
                Runtime.getRuntime().halt(0);
            } finally {
                CURRENT.remove();
            }
        });
    }

    private static Executor threads(int most) {
        int carriers = Math.max(Runtime.getRuntime().availableProcessors(), Math.min(most, CARRIERS));
        System.setProperty("jdk.virtualThreadScheduler.parallelism", String.valueOf(carriers));
        System.setProperty("jdk.virtualThreadScheduler.maxPoolSize", String.valueOf(MAX_THREADS));
        try {
            // Unknown to the JDKs that this may be compiled with.
            Object builder = Thread.class.getMethod("ofVirtual").invoke(null);
            ThreadFactory virtual = (ThreadFactory) Class.forName("java.lang.Thread$Builder").getMethod("factory").invoke(builder);
            return task -> virtual.newThread(task).start();
        } catch (ReflectiveOperationException none) {
            int size = Math.min(most, MAX_THREADS);
            ThreadPoolExecutor pool =
                    new ThreadPoolExecutor(size, size, IDLE_SECONDS, TimeUnit.SECONDS, new LinkedBlockingQueue<>());
            pool.allowCoreThreadTimeOut(true);
            return pool;
        }
    }

    /** One activation under way. */
    private final class Run {
        private final byte[] activationId;
        private final ByteArrayOutputStream[] collected = {new ByteArrayOutputStream(), new ByteArrayOutputStream()};
        private boolean ended;

        Run(byte[] activationId) {
            this.activationId = activationId;
        }

        /** False once it has its reply: then the text is nobody's. */
        synchronized boolean print(int stream, byte[] text, int offset, int length) throws IOException {
            if (ended) {
                return false;
            }
            ByteArrayOutputStream line = collected[stream - 1];
            line.write(text, offset, length);
            if (line.size() >= MAX_COLLECTED || text[offset + length - 1] == '\n') {
                send(stream);
            }
            return true;
        }

        private void send(int stream) throws IOException {
            byte[] text = collected[stream - 1].toByteArray();
            collected[stream - 1].reset();
            for (int start = 0; start < text.length; start += MAX_LOG) {
                channel.log(activationId, stream, text, start, Math.min(MAX_LOG, text.length - start));
            }
        }

        void end(Work work) throws IOException {
            int kind;
            String text;
            try {
                text = work.result();
                kind = Channel.RESULT;
            } catch (Launcher.Refusal refusal) {
                text = refusal.body();
                kind = Channel.DEVELOPER_ERROR;
            }
            synchronized (this) {
                send(1);
                send(2);
                ended = true;
            }
            channel.write(kind, activationId, text);
        }
    }

    /** A stream of the process: what belongs to a run goes there, all else where it always goes. */
    private static final class Attributed extends OutputStream {
        private final int stream;
        private final OutputStream plain;

        Attributed(int stream, FileDescriptor descriptor) {
            this.stream = stream;
            plain = new FileOutputStream(descriptor);
        }

        @Override
        public void write(int one) throws IOException {
            write(new byte[] {(byte) one}, 0, 1);
        }

        @Override
        public void write(byte[] text, int offset, int length) throws IOException {
            Run run = CURRENT.get();
            if (length > 0 && (run == null || !run.print(stream, text, offset, length))) {
                plain.write(text, offset, length);
            }
        }
    }
}
