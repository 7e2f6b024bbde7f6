//! A proxy of one's own, listening on a socket that it inherits, and a client that speaks HTTP byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";

/// The program under test: a built one if the environment names it.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("CHASEN_PROXY_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_chasen-proxy").into(), PathBuf::from)
}

/// A running proxy and its working directory.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
    output: Option<[JoinHandle<String>; 2]>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What both streams said: text without sentinels, and how many of them.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) sentinels: [usize; 2],
    /// Both streams as they were.
    whole: [String; 2],
}

impl Logs {
    /// True if on neither stream anything lies between sentinels.
    pub(crate) fn marks_are_together(&self) -> bool {
        self.whole.iter().all(|text| {
            let rest = text.lines().skip_while(|line| *line != SENTINEL);
            rest.skip_while(|line| *line == SENTINEL).all(|line| line != SENTINEL)
        })
    }
}

impl Proxy {
    pub(crate) fn start(kind: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program());
        command.args(["--kind", kind]);
        Self::spawn(command, env)
    }

    /// Starts what the command says, with a clean environment and a listening socket as its standard input.
    pub(crate) fn spawn(mut command: Command, env: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TMPDIR", folder.path()).envs(env.iter().copied());
        command.args(["--listen", "stdin"]).current_dir(folder.path());
        command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let read = |mut pipe: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                pipe.read_to_end(&mut text).unwrap();
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let output = Some([read(Box::new(stdout)), read(Box::new(stderr))]);
        Self { address, child, folder, output }
    }

    /// Sends a whole request; the answer comes by [`answer`].
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        // It may answer before it has read to the end.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        stream
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// `None` if the connection was closed instead of an answer.
    pub(crate) fn try_post(&self, path: &str, body: &str) -> Option<Answer> {
        answer(self.send("POST", path, "", body.as_bytes()))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        let answer = self.try_post(path, body).unwrap_or_else(|| panic!("no answer to {path}"));
        (answer.status, answer.body)
    }

    /// Initialises with `code`; what is binary is encoded.
    pub(crate) fn init(&self, code: &[u8], binary: bool, env: &Value) -> (u16, String) {
        let code = if binary { STANDARD.encode(code) } else { String::from_utf8(code.to_vec()).unwrap() };
        let value = json!({ "name": "x", "main": "main", "code": code, "binary": binary, "env": env });
        self.post("/init", &json!({ "value": value }).to_string())
    }

    pub(crate) fn run(&self, value: &Value) -> (u16, String) {
        self.post("/run", &json!({ "value": value }).to_string())
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for an end that comes by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the proxy does not end");
    }

    /// Asks it to end, which must succeed, and gives all that it said.
    pub(crate) fn stop(mut self) -> Logs {
        self.signal("-TERM");
        assert_eq!(self.wait().code(), Some(0));
        self.logs()
    }

    /// All that it said, after its end.
    pub(crate) fn logs(mut self) -> Logs {
        let [stdout, stderr] = self.output.take().unwrap().map(|stream| stream.join().unwrap());
        let sentinels = [&stdout, &stderr].map(|text| text.lines().filter(|line| *line == SENTINEL).count());
        let whole = [stdout, stderr];
        let [stdout, stderr] = whole.each_ref().map(|text| text.replace(&format!("{SENTINEL}\n"), ""));
        Logs { stdout, stderr, sentinels, whole }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads one answer to its end.
pub(crate) fn answer(mut stream: TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A reset after the answer is none of our business.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let body = bytes.split_off(end + 4);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if status != 204 {
        assert_eq!(length, Some(body.len().to_string().as_str()), "every answer says its length: {head}");
    }
    Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

/// `{"error": text}` as images of the ActionLoop family end it.
pub(crate) fn error(text: &str) -> String {
    format!("{}\n", json!({ "error": text }))
}

/// A zip of executables.
pub(crate) fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Writes an executable file, by a process of its own: no other test's child can then hold it open for writing while it
/// is started.
pub(crate) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mut tee = Command::new("tee").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    tee.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(tee.wait().unwrap().success());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
