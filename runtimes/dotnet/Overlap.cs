using System;
using System.IO;
using System.Threading;
using System.Threading.Tasks;

namespace Chasen
{
    /// <summary>
    /// Runs that overlap: each begins on a thread of the pool. What a run prints, and whatever goes on in its name on other
    /// threads, goes to that activation, all of it before the reply. Made for actions that allow it only.
    /// </summary>
    internal sealed class Overlap
    {
        /// <summary>Most threads of the pool; a sandbox has 1024 processes and threads in all.</summary>
        private const int MaxThreads = 512;
        /// <summary>Most bytes of text in one frame of log.</summary>
        private const int MaxLog = 64 * 1024;
        /// <summary>What is collected of a line that has not ended, in bytes.</summary>
        private const int MaxCollected = 4 * 1024;

        private static readonly AsyncLocal<Activation> Current = new AsyncLocal<Activation>();

        private readonly Channel channel;

        /// <summary>Begins to attribute output.</summary>
        internal Overlap(Channel channel, int most)
        {
            this.channel = channel;
            // The pool is slow to grow beyond what it is told to have, and functions may block their thread.
            int threads = Math.Max(Math.Min(most, MaxThreads), Environment.ProcessorCount);
            ThreadPool.SetMinThreads(threads, Environment.ProcessorCount);
            ThreadPool.SetMaxThreads(Math.Max(MaxThreads, threads), MaxThreads);
            Console.SetOut(Launcher.Writer(new Attributed(1, Console.OpenStandardOutput())));
            Console.SetError(Launcher.Writer(new Attributed(2, Console.OpenStandardError())));
        }

        /// <summary>Takes a run in and returns; what the work gives or throws becomes its reply.</summary>
        internal void Begin(byte[] activationId, Func<Task<string>> work)
        {
            var activation = new Activation(channel, activationId);
            Task.Run(async () =>
            {
                Current.Value = activation;
                try
                {
                    await activation.End(work).ConfigureAwait(false);
                }
                catch (IOException)
                {
                    // The platform is gone: the same as the end of the channel.
                    Environment.Exit(0);
                }
            });
        }

        /// <summary>One activation under way.</summary>
        private sealed class Activation
        {
            private readonly Channel channel;
            private readonly byte[] id;
            private readonly MemoryStream[] collected = { new MemoryStream(), new MemoryStream() };
            private bool ended;

            internal Activation(Channel channel, byte[] id)
            {
                this.channel = channel;
                this.id = id;
            }

            /// <summary>False once it has its reply: then the text is nobody's.</summary>
            internal bool Print(byte stream, byte[] text, int offset, int length)
            {
                lock (collected)
                {
                    if (ended)
                    {
                        return false;
                    }
                    MemoryStream line = collected[stream - 1];
                    line.Write(text, offset, length);
                    if (line.Length >= MaxCollected || text[offset + length - 1] == '\n')
                    {
                        Send(stream);
                    }
                    return true;
                }
            }

            private void Send(byte stream)
            {
                MemoryStream text = collected[stream - 1];
                for (int start = 0; start < text.Length; start += MaxLog)
                {
                    channel.WriteLog(id, stream, text.GetBuffer(), start, Math.Min(MaxLog, (int)text.Length - start));
                }
                text.SetLength(0);
            }

            internal async Task End(Func<Task<string>> work)
            {
                byte kind = Channel.Result;
                string text;
                try
                {
                    text = await work().ConfigureAwait(false);
                }
                catch (Refusal refusal)
                {
                    kind = Channel.DeveloperError;
                    text = Text.OfError(refusal.Message);
                }
                lock (collected)
                {
                    Send(1);
                    Send(2);
                    ended = true;
                }
                channel.Write(kind, id, text);
            }
        }

        /// <summary>A stream of the process: what belongs to a run goes there, all else where it always goes.</summary>
        private sealed class Attributed : Stream
        {
            private readonly byte stream;
            private readonly Stream plain;

            internal Attributed(byte stream, Stream plain)
            {
                this.stream = stream;
                this.plain = plain;
            }

            public override bool CanRead => false;

            public override bool CanSeek => false;

            public override bool CanWrite => true;

            public override long Length => throw new NotSupportedException();

            public override long Position
            {
                get => throw new NotSupportedException();
                set => throw new NotSupportedException();
            }

            public override void Flush()
            {
                // Nothing is held back here.
            }

            public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

            public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

            public override void SetLength(long value) => throw new NotSupportedException();

            public override void Write(byte[] text, int offset, int length)
            {
                if (length > 0 && !(Current.Value?.Print(stream, text, offset, length) ?? false))
                {
                    plain.Write(text, offset, length);
                }
            }
        }
    }
}
