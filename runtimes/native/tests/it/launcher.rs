//! The invoker's side, small and blocking.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chasen_entity::ActivationId;
use chasen_entity::frame::{FrameKind, HEADER_LEN, decode_header, encode_header};

pub(crate) const KEEP: usize = 1 << 19;
const ID: [u8; 16] = [7; 16];

pub(crate) struct Launcher {
    pub(crate) process: Child,
    socket: UnixStream,
    folder: tempfile::TempDir,
}

impl Launcher {
    pub(crate) fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .arg("native-launcher")
            .env("KEPT", "by the process")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut launcher = Self { process, socket, folder: tempfile::tempdir().unwrap() };
        assert_eq!(launcher.receive(), (FrameKind::Hello, r#"{"protocol":1,"concurrent":false}"#.to_owned()));
        launcher
    }

    /// Started and initialised with this script.
    pub(crate) fn with_script(script: &str) -> Self {
        let mut launcher = Self::start();
        launcher.write_exec(script);
        assert_eq!(launcher.init(r#"{"A":"1","N":2,"__OW_API_KEY":"old"}"#).0, FrameKind::Initialized);
        launcher
    }

    pub(crate) fn exec(&self) -> PathBuf {
        self.folder.path().join("exec")
    }

    /// Writes the executable, by a process of its own: no other test's child can then hold it open for writing while it
    /// is started.
    pub(crate) fn write_exec(&self, script: &str) {
        let mut command = Command::new("tee");
        let mut tee = command.arg(self.exec()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tee.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(tee.wait().unwrap().success());
    }

    pub(crate) fn folder(&self) -> String {
        self.folder.path().canonicalize().unwrap().display().to_string()
    }

    pub(crate) fn init(&mut self, env: &str) -> (FrameKind, String) {
        let path = self.folder.path().display();
        self.ask(
            FrameKind::Init,
            &format!(
                r#"{{"value":{{"name":"x","binary":false,"env":{env},"maxPayload":{KEEP},"path":"{path}"}}}}"#
            ),
        )
    }

    pub(crate) fn run(&mut self, body: &str) -> (FrameKind, String) {
        self.ask(FrameKind::Run, body)
    }

    pub(crate) fn ask(&mut self, kind: FrameKind, payload: &str) -> (FrameKind, String) {
        let mut frame = Vec::new();
        encode_header(&mut frame, kind, Some(&ActivationId::from_bytes(ID)), payload.len());
        frame.extend_from_slice(payload.as_bytes());
        self.socket.write_all(&frame).unwrap();
        self.receive()
    }

    fn receive(&mut self) -> (FrameKind, String) {
        let mut header = [0; HEADER_LEN];
        self.socket.read_exact(&mut header).unwrap();
        let header = decode_header(&header, usize::MAX).unwrap();
        let mut payload = vec![0; header.payload_len];
        self.socket.read_exact(&mut payload).unwrap();
        (header.kind, String::from_utf8(payload).unwrap())
    }

    /// Closes, waits for the end, and gives what was printed: standard output and standard error.
    pub(crate) fn close(self) -> (String, String) {
        drop(self.socket);
        let output = self.process.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}
