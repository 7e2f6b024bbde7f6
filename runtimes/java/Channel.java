package chasen;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/**
 * Our end of the socket to the platform. A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes of
 * activation id, payload.
 */
final class Channel {
    static final int HELLO = 1;
    static final int INIT = 2;
    static final int INITIALIZED = 3;
    static final int RUN = 4;
    static final int RESULT = 5;
    static final int DEVELOPER_ERROR = 6;
    private static final int LOG = 7;

    private static final int HEADER_LENGTH = 21;
    private static final int MAX_PAYLOAD = 256 * 1024 * 1024;

    /** The peer broke the protocol: nothing that follows on the channel could be trusted. */
    static final class Broken extends Exception {
        private static final long serialVersionUID = 1;

        Broken(String why) {
            super(why);
        }
    }

    /** One frame. */
    static final class Frame {
        final int kind;
        final byte[] activationId;
        final byte[] payload;

        Frame(int kind, byte[] activationId, byte[] payload) {
            this.kind = kind;
            this.activationId = activationId;
            this.payload = payload;
        }
    }

    private final DataInputStream in;
    private final OutputStream out;

    Channel(InputStream in, OutputStream out) {
        this.in = new DataInputStream(new BufferedInputStream(in));
        this.out = out;
    }

    /** The next frame, or null at the end of the channel. */
    Frame read() throws IOException, Broken {
        try {
            // As unsigned, so that the text names what came.
            long size = (in.readInt() & 0xffffffffL) - (HEADER_LENGTH - 4);
            int kind = in.readUnsignedByte();
            byte[] activationId = new byte[16];
            in.readFully(activationId);
            if (size < 0 || size > MAX_PAYLOAD) {
                throw new Broken("a frame announces " + size + " bytes of payload, allowed are 0 to " + MAX_PAYLOAD);
            }
            byte[] payload = new byte[(int) size];
            in.readFully(payload);
            return new Frame(kind, activationId, payload);
        } catch (EOFException end) {
            return null;
        }
    }

    void write(int kind, byte[] activationId, String text) throws IOException {
        byte[] payload = text.getBytes(StandardCharsets.UTF_8);
        write(frame(kind, activationId, payload.length).put(payload));
    }

    /** A piece of what an activation has printed to stream 1 or 2. */
    void log(byte[] activationId, int stream, byte[] text, int offset, int length) throws IOException {
        write(frame(LOG, activationId, 1 + length).put((byte) stream).put(text, offset, length));
    }

    private static ByteBuffer frame(int kind, byte[] activationId, int size) {
        ByteBuffer frame = ByteBuffer.allocate(HEADER_LENGTH + size);
        return frame.putInt(HEADER_LENGTH - 4 + size).put((byte) kind).put(activationId);
    }

    private synchronized void write(ByteBuffer frame) throws IOException {
        out.write(frame.array());
    }
}
