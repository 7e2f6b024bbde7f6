using System;
using System.Buffers.Binary;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Chasen
{
    /// <summary>
    /// Our end of the socket to the platform. A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes
    /// of activation id, payload.
    /// </summary>
    internal sealed class Channel
    {
        internal const byte Hello = 1;
        internal const byte Init = 2;
        internal const byte Initialized = 3;
        internal const byte Run = 4;
        internal const byte Result = 5;
        internal const byte DeveloperError = 6;
        private const byte Log = 7;

        private const int HeaderLength = 21;
        private const int MaxPayload = 256 * 1024 * 1024;
        private const int ReadAhead = 4096;
        private const int SetFlags = 2;
        private const int CloseOnExec = 1;

        /// <summary>The peer broke the protocol: nothing that follows on the channel could be trusted.</summary>
        internal sealed class BrokenException : Exception
        {
            internal BrokenException(string why)
                : base(why)
            {
            }
        }

        /// <summary>One frame.</summary>
        internal sealed class Frame
        {
            internal readonly byte Kind;
            internal readonly byte[] ActivationId;
            internal readonly byte[] Payload;

            internal Frame(byte kind, byte[] activationId, byte[] payload)
            {
                Kind = kind;
                ActivationId = activationId;
                Payload = payload;
            }
        }

        private readonly Stream input;
        private readonly Stream output;
        private readonly object writing = new object();

        internal Channel(int descriptor)
        {
            // What the function starts must not hold the channel, nor write to it.
            SetDescriptor(descriptor, SetFlags, CloseOnExec);
            var handle = new SafeFileHandle((IntPtr)descriptor, false);
            input = new FileStream(handle, FileAccess.Read, ReadAhead);
            // Frames are written whole: a buffer would only copy them.
            output = new FileStream(handle, FileAccess.Write, 1);
        }

        [DllImport("libc", EntryPoint = "fcntl")]
        private static extern int SetDescriptor(int descriptor, int command, int flags);

        /// <summary>The next frame, or null at the end of the channel.</summary>
        internal Frame Read()
        {
            byte[] header = ReadFully(HeaderLength);
            if (header == null)
            {
                return null;
            }
            // As unsigned, so that the text names what came.
            long size = BinaryPrimitives.ReadUInt32BigEndian(header) - (long)(HeaderLength - 4);
            if (size < 0 || size > MaxPayload)
            {
                throw new BrokenException($"a frame announces {size} bytes of payload, allowed are 0 to {MaxPayload}");
            }
            byte[] payload = ReadFully((int)size);
            return payload == null ? null : new Frame(header[4], header.AsSpan(5).ToArray(), payload);
        }

        private byte[] ReadFully(int size)
        {
            byte[] bytes = new byte[size];
            for (int have = 0; have < size;)
            {
                int read = input.Read(bytes, have, size - have);
                if (read == 0)
                {
                    return null;
                }
                have += read;
            }
            return bytes;
        }

        internal void Write(byte kind, byte[] activationId, string text)
        {
            byte[] frame = Begin(kind, activationId, Encoding.UTF8.GetByteCount(text));
            Encoding.UTF8.GetBytes(text, 0, text.Length, frame, HeaderLength);
            Write(frame);
        }

        /// <summary>A piece of what an activation has printed to stream 1 or 2.</summary>
        internal void WriteLog(byte[] activationId, byte stream, byte[] text, int offset, int length)
        {
            byte[] frame = Begin(Log, activationId, 1 + length);
            frame[HeaderLength] = stream;
            Array.Copy(text, offset, frame, HeaderLength + 1, length);
            Write(frame);
        }

        private static byte[] Begin(byte kind, byte[] activationId, int size)
        {
            byte[] frame = new byte[HeaderLength + size];
            BinaryPrimitives.WriteInt32BigEndian(frame, HeaderLength - 4 + size);
            frame[4] = kind;
            activationId.CopyTo(frame, 5);
            return frame;
        }

        private void Write(byte[] frame)
        {
            lock (writing)
            {
                output.Write(frame, 0, frame.Length);
                output.Flush();
            }
        }
    }
}
