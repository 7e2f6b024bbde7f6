//! The reference: the same launcher, the same initialisation and runs, as a plain child process.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use chasen_entity::ActivationId;
use chasen_entity::frame::{FrameKind, HEADER_LEN, decode_header, encode_header};

use crate::Failure;
use crate::kinds::Kind;
use crate::stats::Samples;

/// Longest reply that a benchmark expects.
const MAX_REPLY: usize = 1 << 20;

pub(crate) struct Launcher {
    child: Child,
    stream: UnixStream,
    code: PathBuf,
    init: String,
}

impl Launcher {
    /// Starts the launcher of a kind and initialises it.
    pub(crate) fn start(kind: &Kind) -> Result<Self, Failure> {
        let mut launcher = Self::boot(kind)?;
        launcher.initialise()?;
        Ok(launcher)
    }

    /// Starts the launcher of a kind; the code lies there.
    pub(crate) fn boot(kind: &Kind) -> Result<Self, Failure> {
        let code = std::env::temp_dir().join(format!("chasen-bench-{}", ActivationId::generate()));
        fs::create_dir_all(&code)?;
        let init = kind.lay_out(&code)?.to_string();
        let (ours, theirs) = UnixStream::pair()?;
        let [program, args @ ..] = kind.command.as_slice() else {
            return Err("a launcher needs a command".into());
        };
        // The shell moves the socket from standard input to descriptor 3, where launchers expect it.
        let child = Command::new("sh")
            .args(["-c", "exec 3<&0 0</dev/null; exec \"$@\"", "sh", program])
            .args(args)
            .current_dir(&kind.cwd)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut launcher = Self { child, stream: ours, code, init };
        launcher.expect(FrameKind::Hello)?;
        Ok(launcher)
    }

    /// Gives it the function.
    pub(crate) fn initialise(&mut self) -> Result<(), Failure> {
        let init = self.init.clone();
        self.send(FrameKind::Init, &init)?;
        self.expect(FrameKind::Initialized)
    }

    /// One round trip.
    pub(crate) fn run(&mut self, body: &str) -> Result<(), Failure> {
        self.send(FrameKind::Run, body)?;
        self.expect(FrameKind::Result)
    }

    /// So many runs at once; how long each took. The launcher must have been told that they may overlap.
    pub(crate) fn run_together(&mut self, body: &str, count: usize) -> Result<Samples, Failure> {
        let id = |number: usize| ActivationId::from_bytes((number as u128 + 1).to_be_bytes());
        let mut writer = self.stream.try_clone()?;
        let body = body.to_owned();
        let writing = std::thread::spawn(move || -> std::io::Result<Vec<Instant>> {
            let mut sent = Vec::with_capacity(count);
            for number in 0..count {
                let mut frame = Vec::with_capacity(HEADER_LEN + body.len());
                encode_header(&mut frame, FrameKind::Run, Some(&id(number)), body.len());
                frame.extend_from_slice(body.as_bytes());
                sent.push(Instant::now());
                writer.write_all(&frame)?;
            }
            Ok(sent)
        });
        let mut ended = Vec::with_capacity(count);
        let mut reader = BufReader::new(self.stream.try_clone()?);
        for _ in 0..count {
            let (kind, from, _) = read_frame(&mut reader)?;
            if kind != FrameKind::Result {
                return Err(format!("{kind:?} instead of a result").into());
            }
            ended.push((u128::from_be_bytes(from) as usize - 1, Instant::now()));
        }
        let sent = writing.join().map_err(|_| "the writer panicked")??;
        let mut samples = Samples::new()?;
        for (number, end) in ended {
            let begun = sent.get(number).ok_or("a reply to nothing that was asked")?;
            samples.record(end.duration_since(*begun));
        }
        Ok(samples)
    }

    fn send(&mut self, kind: FrameKind, payload: &str) -> Result<(), Failure> {
        let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
        encode_header(&mut frame, kind, Some(&ActivationId::from_bytes([1; 16])), payload.len());
        frame.extend_from_slice(payload.as_bytes());
        Ok(self.stream.write_all(&frame)?)
    }

    fn expect(&mut self, kind: FrameKind) -> Result<(), Failure> {
        let (came, _, payload) = read_frame(&mut self.stream)?;
        if came == kind {
            return Ok(());
        }
        Err(format!("{came:?} instead of {kind:?}: {}", String::from_utf8_lossy(&payload)).into())
    }
}

fn read_frame(stream: &mut impl Read) -> Result<(FrameKind, [u8; 16], Vec<u8>), Failure> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let header = decode_header(&header, MAX_REPLY)?;
    let mut payload = vec![0; header.payload_len];
    stream.read_exact(&mut payload)?;
    Ok((header.kind, header.activation_id, payload))
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.code);
    }
}
