//! The reference: the same launcher, the same initialisation and runs, as a plain child process.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use chasen_entity::ActivationId;
use chasen_entity::frame::{FrameKind, HEADER_LEN, decode_header, encode_header};

use crate::Failure;
use crate::kinds::Kind;

/// Longest reply that a benchmark expects.
const MAX_REPLY: usize = 1 << 20;

pub(crate) struct Launcher {
    child: Child,
    stream: UnixStream,
    code: PathBuf,
}

impl Launcher {
    /// Starts the launcher of a kind on this code and initialises it.
    pub(crate) fn start(kind: &Kind) -> Result<Self, Failure> {
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
        let mut launcher = Self { child, stream: ours, code: code.clone() };
        launcher.expect(FrameKind::Hello)?;
        launcher.send(FrameKind::Init, &init)?;
        launcher.expect(FrameKind::Initialized)?;
        Ok(launcher)
    }

    /// One round trip.
    pub(crate) fn run(&mut self, body: &str) -> Result<(), Failure> {
        self.send(FrameKind::Run, body)?;
        self.expect(FrameKind::Result)
    }

    fn send(&mut self, kind: FrameKind, payload: &str) -> Result<(), Failure> {
        let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
        encode_header(&mut frame, kind, Some(&ActivationId::from_bytes([1; 16])), payload.len());
        frame.extend_from_slice(payload.as_bytes());
        Ok(self.stream.write_all(&frame)?)
    }

    fn expect(&mut self, kind: FrameKind) -> Result<(), Failure> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header)?;
        let header = decode_header(&header, MAX_REPLY)?;
        let mut payload = vec![0; header.payload_len];
        self.stream.read_exact(&mut payload)?;
        if header.kind == kind {
            return Ok(());
        }
        Err(format!("{:?} instead of {kind:?}: {}", header.kind, String::from_utf8_lossy(&payload)).into())
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.code);
    }
}
